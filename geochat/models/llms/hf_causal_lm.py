"""A Hugging Face causal language model with its tokenizer, adapters and attention back end."""

import functools
import importlib.util
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from geochat.installation import InstallationError
from geochat.models.adapters import add_lora, quantize_linear_layers
from geochat.models.attention import (
    DOCUMENT_ATTENTION,
    Layout,
    additive_mask,
    block_mask,
    document_attention,
    pieces,
    varlen_settings,
)
from geochat.models.layers import checkpoint_layers, compile_layers
from geochat.models.llms.start_values import set_start_values
from geochat.models.partitioned import build_transformer
from geochat.models.prefix_attention import (
    COMPILED_PREFIX_ATTENTION,
    PREFIX_ATTENTION,
    PrefixSpan,
    own_mask,
    prefix_attention,
)
from geochat.models.weights import load_weights, stream_weights
from geochat.registry import CHAT_TEMPLATES, LLMS


@LLMS.register_module()
class HFCausalLM(nn.Module):
    """A causal LM of transformers: embeds ids, runs hidden states, applies its head to chosen rows, keeps a cache.

    Args:
        config: Shape of the model: ``model_type`` and fields of that family's transformers config; None reads it from
            the folder ``pretrained``.
        pretrained: Folder with ``config.json`` and weights in Hugging Face format; None starts from random weights.
        tokenizer: Folder of the tokenizer; None takes ``pretrained``.
        chat_template: Config of the chat template the LLM was trained with.
        lora: Settings of :func:`~geochat.models.adapters.add_lora`; None for no adapters.
        quantization: Settings of :func:`~geochat.models.adapters.quantize_linear_layers`; None for whole weights.
        frozen: True trains nothing of the LLM but its adapters.
        attention: ``'auto'``, or the name of one of transformers' implementations; see :func:`choose_attention`.
        gradient_checkpointing: Recompute the layers in the backward pass instead of storing them.
        compile: Compile the layers by ``torch.compile``.
        liger: Run norms, rotary embeddings and activations by the fused kernels of the package ``liger-kernel``.
        start_values: Settings of :func:`~geochat.models.llms.start_values.set_start_values`, for a small model that
            starts from random weights; None leaves them as transformers draws them.
        dtype: Name of the weights' dtype.
    """

    def __init__(
        self,
        config: Mapping[str, Any] | None = None,
        pretrained: str | None = None,
        tokenizer: str | None = None,
        chat_template: Mapping[str, Any] | None = None,
        lora: Mapping[str, Any] | None = None,
        quantization: Mapping[str, Any] | None = None,
        frozen: bool = False,
        attention: str = 'auto',
        gradient_checkpointing: bool = False,
        compile: bool = False,
        liger: bool = False,
        start_values: Mapping[str, Any] | None = None,
        dtype: str = 'float32',
    ):
        super().__init__()
        self.pretrained = pretrained
        self.tokenizer_path = tokenizer or pretrained
        self.chat_template = CHAT_TEMPLATES.build(dict(chat_template or {'type': 'vicuna_v1'}))
        hf_config = _causal_lm_config(config, pretrained)
        self.shape = shape_of(hf_config)
        self.attention = attention
        self.model = _build(hf_config, dtype, attention, random_weights=pretrained is None)
        if start_values is not None and pretrained is None:
            set_start_values(self.model, self.tokenizer.get_vocab(), **start_values)
        if liger:
            use_liger(self.model)
        if gradient_checkpointing:
            checkpoint_layers(self.model)
        if compile:
            compile_layers(self.model.get_decoder().layers)
        if quantization is not None:
            if lora is None:
                raise ValueError('weights in 4 bits cannot be trained: the llm\'s "quantization" needs "lora"')
            quantize_linear_layers(self.model, **quantization)
        self._needed: torch.Tensor | None = None
        if not compile:  # a compiled layer has no room for hooks
            self._spare_rows_of_last_layer()
        self.model.requires_grad_(not (frozen or lora))
        if lora is not None:
            add_lora(self.model, **lora)

    @property
    def hidden_size(self) -> int:
        """Width of the embeddings and hidden states."""
        return self.model.config.hidden_size

    @property
    def vocabulary(self) -> int:
        """How many tokens it has; the tokenizer may have fewer."""
        return self.model.get_output_embeddings().weight.shape[0]

    @functools.cached_property
    def tokenizer(self):
        """The tokenizer, as :func:`geochat.prompts.load_tokenizer` loads it.

        Raises:
            ValueError: If the config names no tokenizer.
        """
        from geochat.prompts import load_tokenizer

        if self.tokenizer_path is None:
            raise ValueError('the LLM\'s config names no tokenizer: set "tokenizer" to its folder')
        return load_tokenizer(self.tokenizer_path)

    @functools.cached_property
    def stop_ids(self) -> tuple[int, ...]:
        """Ids that end an answer: end of text, and what the chat template ends a turn with."""
        stop = self.tokenizer.get_vocab().get(self.chat_template.stop)
        return tuple({index for index in (self.tokenizer.eos_token_id, stop) if index is not None})

    def load_pretrained(self) -> None:
        """Read the weights of the folder ``pretrained``, if there is one."""
        if self.pretrained is not None:
            load_weights(self.model, stream_weights(self.pretrained), source=self.pretrained).check()

    def save_tokenizer(self, folder: Path) -> None:
        """Write the tokenizer's files into a folder, the SentencePiece model among them if there is one."""
        self.tokenizer.save_pretrained(str(folder))
        sentencepiece = Path(self.tokenizer_path) / 'tokenizer.model'
        if sentencepiece.is_file():
            shutil.copyfile(sentencepiece, folder / sentencepiece.name)

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """Embed token ids (...,) as (..., hidden_size)."""
        return self.model.get_input_embeddings()(ids)

    def hidden_states(
        self,
        embeds: torch.Tensor,
        mask: torch.Tensor | Layout,
        positions: torch.Tensor,
        cache: Any = None,
        needed: torch.Tensor | None = None,
        prefixes: Sequence[PrefixSpan] | None = None,
    ) -> torch.Tensor:
        """Run the decoder.

        Args:
            embeds: (B, T, hidden_size).
            mask: (B, S) bool, True for tokens that may be seen: those in the cache, then the T given. Or the
                :class:`~geochat.models.attention.Layout` of rows that hold several texts, without a cache.
            positions: (B, T) position of each token in its own sequence.
            cache: A transformers ``Cache`` to read and extend; None keeps none. With one of a fixed size, the mask is
                of that size, T is 1 and the decoder is compiled.
            needed: (B, T) bool, the tokens whose states are used; the last layer's MLP is spared for the others, whose
                states mean nothing. None needs all.
            prefixes: Which rows have which prefix before them (:mod:`geochat.models.prefix_attention`), if
                :attr:`can_share_prefixes`. Mask and cache are of what follows it, ``positions`` count it.

        Returns:
            (B, T, hidden_size), after the last norm.

        Raises:
            ValueError: If the rows hold several texts and the attention back end cannot keep them apart, or a text is
                longer than the LLM's attention reaches back.
        """
        layout = mask if isinstance(mask, Layout) else None
        window = getattr(self.model.config, 'sliding_window', None)
        if layout is not None and window is not None and positions.max() >= window:
            raise ValueError(
                f"packing and independent turns take texts of at most the LLM's sliding_window, {window} tokens, not "
                f'{int(positions.max()) + 1}: lower max_length, or take collate_samples'
            )
        # Set at every forward and left so: checkpointed layers look them up again in the backward pass.
        self._needed = needed
        decoder = self.model.get_decoder()
        has_fixed_size = cache is not None and cache.is_compileable
        if prefixes or has_fixed_size:
            _register_prefix_attention()
            back_end = COMPILED_PREFIX_ATTENTION if has_fixed_size else PREFIX_ATTENTION
            self.model.config._attn_implementation = back_end
            settings = {'attention_mask': own_mask(mask, embeds.shape[1]), 'prefixes': prefixes or ()}
            decoder = self._compiled_decoder if has_fixed_size else decoder
        else:
            self.model.config._attn_implementation = choose_attention(self.attention, layout, embeds.device)
            settings = {} if layout is None else self._layout_settings(layout, embeds.dtype)
        output = decoder(
            inputs_embeds=embeds,
            position_ids=positions,
            past_key_values=cache,
            use_cache=cache is not None,
            **{'attention_mask': mask, **settings},
        )
        return output.last_hidden_state

    def _spare_rows_of_last_layer(self) -> None:
        """Let the last layer's MLP, which treats each token alone, run on the needed tokens only."""
        if (mlp := last_mlp(self.model)) is not None:
            mlp.register_forward_pre_hook(self._select_needed)
            mlp.register_forward_hook(self._put_back_needed)

    def _select_needed(self, _: nn.Module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        return inputs if self._needed is None else (inputs[0][self._needed.to(inputs[0].device)][None],)

    def _put_back_needed(self, _: nn.Module, __: Any, output: torch.Tensor) -> torch.Tensor:
        if self._needed is None:
            return output
        whole = output.new_zeros(*self._needed.shape, output.shape[-1])
        return whole.masked_scatter(self._needed[..., None].to(output.device), output)

    def _layout_settings(self, layout: Layout, dtype: torch.dtype) -> dict[str, Any]:
        """Tell the attention back end who sees whom, in its own form."""
        back_end = self.model.config._attn_implementation
        if back_end == DOCUMENT_ATTENTION:
            return {'attention_mask': None, 'pieces': pieces(layout)}
        if back_end == 'eager':
            return {'attention_mask': additive_mask(layout, dtype)}
        if back_end == 'flex_attention':
            return {'attention_mask': block_mask(layout)}
        return {'attention_mask': None, **varlen_settings(layout)}

    def logits(self, rows: torch.Tensor) -> torch.Tensor:
        """Apply the head to chosen rows (..., hidden_size): float32 (..., vocabulary), on the embeddings' device."""
        return self.model.get_output_embeddings()(rows).float().to(self.model.get_input_embeddings().weight.device)

    @property
    def can_share_prefixes(self) -> bool:
        """Whether rows may share a prefix: all layers see everything before them, with plain softmax attention."""
        config = self.model.config
        plain = getattr(self.model, '_supports_attention_backend', False) and not any(
            getattr(config, name, None) for name in ('sliding_window', 'attn_logit_softcapping', 'attention_chunk_size')
        )
        return plain and set(getattr(config, 'layer_types', None) or ()) <= {'full_attention'}

    @property
    def context_length(self) -> int | None:
        """Most tokens of a text, question and answer together, that the LLM was made for; None if it does not say."""
        return getattr(self.model.config, 'max_position_embeddings', None)

    def new_cache(self, size: int | None = None) -> Any:
        """Return an empty cache for :meth:`hidden_states`: one that grows, or one with room for ``size`` tokens."""
        from transformers import DynamicCache, StaticCache

        config = self.model.config
        return DynamicCache(config=config) if size is None else StaticCache(config=config, max_cache_len=size)

    @functools.cached_property
    def _compiled_decoder(self) -> Callable[..., Any]:
        decoder = self.model.get_decoder()
        return torch.compile(lambda **inputs: decoder(**inputs))


def last_mlp(model: nn.Module) -> nn.Module | None:
    """Return the MLP of a causal LM's last layer; None in the few families that name it otherwise."""
    layers = getattr(model.get_decoder(), 'layers', None)
    return None if layers is None else getattr(layers[-1], 'mlp', None)


def use_liger(model: nn.Module) -> None:
    """Put Liger's kernels into a causal LM, in place, but its loss: the loss here takes supervised rows only.

    Raises:
        InstallationError: If the package is not installed, or there is no GPU that its Triton kernels could run on.
    """
    if importlib.util.find_spec('liger_kernel') is None:
        raise InstallationError('llm.liger=True needs the package liger-kernel: pip install liger-kernel')
    if not torch.cuda.is_available():
        raise InstallationError('llm.liger=True needs a GPU: set llm.liger=False')
    from transformers.integrations.liger import apply_liger_kernel

    apply_liger_kernel(model, {'cross_entropy': False, 'fused_linear_cross_entropy': False})


def _causal_lm_config(config: Mapping[str, Any] | None, pretrained: str | None) -> Any:
    """Build transformers' config object, refusing fields that the family does not have."""
    from transformers import AutoConfig

    if config is None:
        if pretrained is None:
            raise ValueError('HFCausalLM needs "config" (the shape) or "pretrained" (a folder with config.json)')
        path = Path(pretrained) / 'config.json'
        if not path.is_file():
            raise FileNotFoundError(
                f'no config.json in the LLM folder {pretrained!r}; a model of a hub is downloaded into a folder first, '
                f'for example: hf download lmsys/vicuna-7b-v1.5 --local-dir {pretrained}'
            )
        config = json.loads(path.read_text(encoding='utf-8'))
        return AutoConfig.for_model(**config)
    fields = dict(config)
    family = fields.pop('model_type', None)
    if family is None:
        raise TypeError('the LLM\'s "config" needs a "model_type", such as \'llama\'')
    known = AutoConfig.for_model(family).to_dict()
    unknown = [key for key in fields if key not in known]
    if unknown:
        raise TypeError(f'the config of a {family} has no field {unknown[0]!r}; it has {", ".join(sorted(known))}')
    return AutoConfig.for_model(family, **fields)


def shape_of(config: Any) -> dict[str, Any]:
    """A transformers config as the ``config`` setting that builds it again: the family and what differs from it."""
    return {key: value for key, value in config.to_diff_dict().items() if key not in ('transformers_version', 'dtype')}


def _build(config: Any, dtype: str, attention: str, random_weights: bool) -> nn.Module:
    from transformers import AutoModelForCausalLM

    settings = {'dtype': getattr(torch, dtype), 'attn_implementation': _attention(attention)}
    return build_transformer(lambda: AutoModelForCausalLM.from_config(config, **settings), random_weights)


def choose_attention(setting: str, layout: Layout | None, device: torch.device) -> str:
    """Choose the attention back end of a batch.

    With ``'auto'``, rows of one text take FlashAttention 2 where it is installed and there is a GPU, else PyTorch's
    SDPA. Rows of several texts take, on a GPU, FlashAttention's kernels for sequences of several lengths where it is
    installed and no text has branches, else FlexAttention; on a CPU, SDPA document by document, as with ``'sdpa'``.
    ``'eager'``, ``'flex_attention'`` and ``'flash_attention_2'`` are taken as they are for all rows.

    Args:
        setting: The LLM's setting ``attention``.
        layout: What the rows hold; None where each holds one text.
        device: Where the model computes.

    Returns:
        A name that transformers knows.

    Raises:
        ValueError: If the rows hold several texts and the setting is none of those named here.
    """
    if layout is None:
        return _attention(setting)
    if setting == 'auto' and device.type == 'cuda':
        flash = _attention(setting) == 'flash_attention_2' and layout.branches is None
        return 'flash_attention_2' if flash else 'flex_attention'
    if setting in ('auto', 'sdpa'):
        _register_document_attention()
        return DOCUMENT_ATTENTION
    if setting not in ('eager', 'flex_attention', 'flash_attention_2'):
        raise ValueError(
            "rows of several texts (packing, independent turns) need the LLM's attention='auto', 'sdpa', 'eager', "
            f"'flex_attention' or 'flash_attention_2', not {setting!r}"
        )
    return setting


@functools.cache
def _register_document_attention() -> None:
    from transformers import AttentionInterface

    # Its loop over documents would be compiled anew for every batch.
    AttentionInterface.register(DOCUMENT_ATTENTION, torch.compiler.disable(document_attention))


@functools.cache
def _register_prefix_attention() -> None:
    from transformers import AttentionInterface

    AttentionInterface.register(PREFIX_ATTENTION, torch.compiler.disable(prefix_attention))
    AttentionInterface.register(COMPILED_PREFIX_ATTENTION, prefix_attention)


def _attention(name: str) -> str:
    if name != 'auto':
        return name
    flash = torch.cuda.is_available() and importlib.util.find_spec('flash_attn') is not None
    return 'flash_attention_2' if flash else 'sdpa'
