"""LLMs: causal language models with their tokenizer, adapters and attention back end."""

from geochat.models.llms.hf_causal_lm import HFCausalLM

__all__ = ['HFCausalLM']
