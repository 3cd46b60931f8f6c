"""How much memory a training takes on each GPU, told from its config alone, before there is any GPU.

What is held all the time follows from the numbers of weights: Rajbhandari et al. 2020 (ZeRO, arXiv 1910.02054, section
3.1 and figure 1), with CPU offload Ren et al. 2021 (ZeRO-Offload, arXiv 2101.06840). What the forward pass keeps and
what the backward pass needs besides is not put into formulas: a micro-batch runs forward and backward on PyTorch's meta
device, which computes shapes and no numbers, and the bytes of all tensors that are alive are counted at each operation.

Not counted are the CUDA context (about half a GB), fragmentation, and what NCCL keeps.
"""

import contextlib
import copy
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from mmengine.config import Config
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from geochat.engine.config import ConfigError
from geochat.engine.link import link_parts
from geochat.models.llms.hf_causal_lm import last_mlp
from geochat.registry import MODELS

MAX_LIVE_PARAMETERS = 10**9
"""DeepSpeed's default of ``stage3_max_live_parameters``: weights of other GPUs that ZeRO-3 holds at a time."""

BUCKET_SIZE = 5 * 10**8
"""DeepSpeed's default of ``reduce_bucket_size``: gradients that are averaged over the GPUs in one go."""

NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Bytes of a weight in nf4 with double quantisation: 4 bits, 8 for the scale of 64 weights, 32 for that of 256 scales
(Dettmers et al. 2023, QLoRA, arXiv 2305.14314, section 3)."""

NF4_BYTES_SINGLE = 0.5 + 4 / 64
"""The same without double quantisation: 32 bits for the scale of 64 weights."""

INT8_BYTES = 1
"""Bytes of a weight in int8; there is one scale for each row."""


@dataclass(frozen=True)
class WeightCounts:
    """Numbers of weights.

    Attributes:
        trained: With a gradient.
        frozen: Without, in the precision of training.
        quantized_bytes: Bytes of those that are kept in 4 or 8 bits.
        trained_bytes: Bytes of the trained ones as the config builds them.
        frozen_bytes: Bytes of the frozen ones as the config builds them.
    """

    trained: int
    frozen: int
    quantized_bytes: int = 0
    trained_bytes: int = 0
    frozen_bytes: int = 0


@dataclass(frozen=True)
class Spread:
    """How a training is spread over GPUs.

    Attributes:
        gpus: Number of GPUs.
        zero_stage: DeepSpeed's stage; 0 without DeepSpeed.
        offload_optimizer: The optimizer's state is in main memory.
        offload_parameters: The weights are in main memory.
        max_live_parameters: Weights of other GPUs that ZeRO-3 holds at a time.
        bucket_size: Gradients that are averaged in one go.
    """

    gpus: int = 1
    zero_stage: int = 0
    offload_optimizer: bool = False
    offload_parameters: bool = False
    max_live_parameters: int = MAX_LIVE_PARAMETERS
    bucket_size: int = BUCKET_SIZE


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes of a training.

    Attributes:
        weights: On each GPU.
        gradients: On each GPU.
        optimizer: Its state on each GPU: two moments and, under DeepSpeed, the weights in float32.
        exchange: On each GPU, for what comes from and goes to the others during a pass.
        activations: On each GPU, at the worst moment of a forward and backward pass.
        update: On each GPU, during the update, when there are no activations.
        host: In main memory, for each process.
    """

    weights: int
    gradients: int
    optimizer: int
    exchange: int
    update: int
    host: int
    activations: int = 0

    @property
    def total(self) -> int:
        """Bytes on each GPU at the worst moment of a step."""
        held = self.weights + self.gradients + self.optimizer
        return held + max(self.activations + self.exchange, self.update)


def held_memory(counts: WeightCounts, spread: Spread) -> MemoryEstimate:
    """Return what a training holds besides activations.

    Under DeepSpeed every weight takes 2 bytes (the engine casts the model), a trained one also 2 for its gradient and
    12 for the optimizer: itself in float32 and AdamW's two moments (ZeRO, section 3.1). Stage 1 spreads the optimizer
    over the GPUs, stage 2 the gradients, too, stage 3 the weights, too. The update takes a float32 copy of this GPU's
    gradients. Offload moves the optimizer's state to main memory, and the gradients with it, in float32.

    Without DeepSpeed, weights are as the config builds them, and so are gradients and AdamW's two moments.
    """
    gpus = spread.gpus
    if not spread.zero_stage:
        trained = counts.trained_bytes
        weights = trained + counts.frozen_bytes + counts.quantized_bytes
        return MemoryEstimate(weights, trained, 2 * trained, trained if gpus > 1 else 0, 0, 0)
    whole = 2 * (counts.trained + counts.frozen)
    weights = (whole // gpus if spread.zero_stage == 3 else whole) + counts.quantized_bytes
    gradients = 2 * counts.trained // (gpus if spread.zero_stage >= 2 else 1)
    optimizer, update = 12 * counts.trained // gpus, 4 * counts.trained // gpus
    exchange = 2 * min(spread.bucket_size, counts.trained) if gpus > 1 else 0
    if spread.zero_stage == 3 and (gpus > 1 or spread.offload_parameters):
        exchange += min(whole, 2 * spread.max_live_parameters)
    host = 0
    if spread.offload_optimizer:
        host += optimizer + update
        gradients, optimizer, update = (0 if spread.zero_stage >= 2 else gradients), 0, 0
    if spread.offload_parameters:
        host += weights
        weights = 0
    return MemoryEstimate(weights, gradients, optimizer, exchange, update, host)


class LiveMemory(TorchDispatchMode):
    """Counts the bytes of the tensors that are alive, while it is entered.

    Args:
        known: Tensors that are not counted, such as weights, nor their views.

    Attributes:
        live: Bytes alive now of tensors made under it.
        peak: The most there were.
    """

    def __init__(self, known: Iterable[torch.Tensor] = ()):
        super().__init__()
        self.live = self.peak = 0
        self._known = {tensor.untyped_storage()._cdata for tensor in known}

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self._count(leaf.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live -= size


@contextlib.contextmanager
def fused_attention() -> Iterator[None]:
    """Let attention on the meta device keep what a fused kernel keeps; PyTorch would take it apart into matrices there.

    FlashAttention keeps its inputs, its output and a number a query (Dao et al. 2022, arXiv 2205.14135, section 3.1).
    """
    usual = nn.functional.scaled_dot_product_attention

    def fused(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *_: Any, **settings: Any) -> torch.Tensor:
        repeats = query.shape[1] // key.shape[1]
        key, value = (tensor.repeat_interleave(repeats, 1) if repeats > 1 else tensor for tensor in (key, value))
        return torch.ops.aten._scaled_dot_product_flash_attention(query, key, value, settings.get('dropout_p', 0.0))[0]

    nn.functional.scaled_dot_product_attention = fused
    try:
        yield
    finally:
        nn.functional.scaled_dot_product_attention = usual


def peak_activations(model: nn.Module, records: int, text_tokens: int, supervised: int) -> int:
    """Return the most bytes that a forward and backward pass needs besides weights and their gradients.

    Args:
        model: A :class:`geochat.models.GeoChat` on the meta device, in the precision it computes in.
        records: Records of a micro-batch, each with a picture.
        text_tokens: Tokens of text of each.
        supervised: How many of them carry loss.
    """
    encoder, llm = model.vision_encoder, model.llm
    size, weight = encoder.image_size, next(llm.parameters())
    length = encoder.num_tokens(size) + text_tokens
    numbers = {'dtype': torch.long, 'device': weight.device}
    mask = torch.empty(1, 1, length, length, dtype=torch.bool, device=weight.device)
    positions, ids = torch.empty(records, length, **numbers), torch.empty(records, text_tokens, **numbers)
    targets = torch.empty(records * supervised, **numbers)
    memory = LiveMemory([*model.parameters(), *model.buffers()])
    with _gradients_dropped(model), _last_mlp_on(llm.model, supervised, length), fused_attention(), memory:
        pixels = torch.empty(records, 3, size, size, dtype=weight.dtype, device=weight.device)
        states = torch.cat([model.projector(encoder(pixels)), llm.embed(ids)], dim=1)
        decoder = llm.model.get_decoder()
        states = decoder(
            inputs_embeds=states, attention_mask=mask, position_ids=positions, use_cache=False
        ).last_hidden_state
        states = states[:, :supervised].reshape(records * supervised, -1)
        nn.functional.cross_entropy(llm.logits(states), targets, reduction='sum').backward()
    return memory.peak


@contextlib.contextmanager
def _last_mlp_on(llm: nn.Module, tokens: int, length: int) -> Iterator[None]:
    """Let the last layer's MLP run on the first tokens of rows of a length, as it does in training on as many others.

    Which ones these are is a matter of numbers, which the meta device has not.
    """

    def select(_: nn.Module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        return (inputs[0][:, :tokens].contiguous(),)

    def put_back(_: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
        return torch.cat([output, output.new_zeros(len(output), length - tokens, output.shape[-1])], dim=1)

    hooks = []
    if (mlp := last_mlp(llm)) is not None:
        hooks = [mlp.register_forward_pre_hook(select), mlp.register_forward_hook(put_back)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextlib.contextmanager
def _gradients_dropped(model: nn.Module) -> Iterator[None]:
    """Drop the gradient of each weight as soon as it is there: gradients are counted apart."""

    def drop(weight: nn.Parameter) -> None:
        weight.grad = None

    hooks = [weight.register_post_accumulate_grad_hook(drop) for weight in model.parameters() if weight.requires_grad]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def estimate_memory(
    cfg: Config | Mapping[str, Any], gpus: int = 1, text_tokens: int = 256, supervised: int = 64
) -> MemoryEstimate:
    """Estimate what a config's training takes on each GPU.

    Args:
        cfg: A config from :func:`~geochat.engine.load_config`.
        gpus: Number of GPUs.
        text_tokens: Tokens of text of a record, with those that pad it to the longest of its micro-batch.
        supervised: How many of them carry loss.

    Raises:
        ConfigError: If a number is below 1, or the config trains nothing.
    """
    return estimate_on(cfg, [gpus], text_tokens, supervised)[0]


def estimate_on(
    cfg: Config | Mapping[str, Any], gpus: Sequence[int], text_tokens: int = 256, supervised: int = 64
) -> list[MemoryEstimate]:
    """Estimate what a config's training takes on several numbers of GPUs; see :func:`estimate_memory`."""
    if min([*gpus, text_tokens, supervised]) < 1:
        raise ConfigError(f'memory takes at least one GPU and token, not {gpus=}, {text_tokens=}, {supervised=}')
    linked = link_parts(Config(cfg.to_dict() if isinstance(cfg, Config) else dict(cfg)))
    if not linked.get('train_dataloader'):
        raise ConfigError('the config has no train_dataloader: it trains nothing')
    model, counts = _build_on_meta(linked)
    if linked.get('strategy') or 'dtype' in linked.optim_wrapper:
        model = model.to(getattr(torch, linked.optim_wrapper.get('dtype', 'bfloat16')))
    records = linked.train_dataloader.batch_size
    activations = peak_activations(model.train(), records, text_tokens, min(supervised, text_tokens))
    held = (held_memory(counts, spread_of(linked, number)) for number in gpus)
    return [replace(estimate, activations=activations) for estimate in held]


COLUMNS = ('weights', 'gradients', 'optimizer', 'activations', 'exchange', 'total', 'host')
"""What a table of estimates shows, in GB; ``host`` is in main memory, for each process."""


def memory_table(configs: Mapping[str, Config], gpus: Sequence[int], text_tokens: int, supervised: int) -> str:
    """Lay out the estimates of configs as a Markdown table, in GB of 10^9 bytes.

    Args:
        configs: Configs by the name that the table gives them.
        gpus: Numbers of GPUs; a row for each.
        text_tokens: See :func:`estimate_memory`.
        supervised: See :func:`estimate_memory`.
    """
    from terminaltables import GithubFlavoredMarkdownTable

    rows = [['config', 'GPUs', 'records', *COLUMNS]]
    for name, cfg in configs.items():
        for number, estimate in zip(gpus, estimate_on(cfg, gpus, text_tokens, supervised), strict=True):
            sizes = [f'{getattr(estimate, column) / 1e9:.1f}' for column in COLUMNS]
            rows.append([name, str(number), str(cfg.train_dataloader.batch_size), *sizes])
    table = GithubFlavoredMarkdownTable(rows)
    table.justify_columns = dict.fromkeys(range(1, len(rows[0])), 'right')
    return table.table


def spread_of(cfg: Config, gpus: int) -> Spread:
    """Read from a config how its training is spread over GPUs."""
    strategy = cfg.get('strategy')
    if not strategy:
        return Spread(gpus)
    zero = (strategy.get('settings') or {}).get('zero_optimization', {})
    return Spread(
        gpus,
        strategy.get('zero_stage', 2),
        strategy.get('offload_optimizer', False),
        strategy.get('offload_parameters', False),
        int(zero.get('stage3_max_live_parameters', MAX_LIVE_PARAMETERS)),
        int(zero.get('reduce_bucket_size', BUCKET_SIZE)),
    )


def _build_on_meta(cfg: Config) -> tuple[nn.Module, WeightCounts]:
    """Build a config's model without its numbers, and count its weights."""
    settings = copy.deepcopy(cfg.model.to_dict())
    quantization = settings['llm'].pop('quantization', None)
    # Neither changes what is kept by more than the temporary tensors that they fuse away.
    settings['llm'].update(compile=False, liger=False, attention='sdpa')
    with torch.device('meta'):
        model = MODELS.build(settings)
    trained, frozen, quantized = [], [], []
    in_few_bits = _quantized_weights(model.llm.model) if quantization is not None else set()
    for weight in model.parameters():
        kind = trained if weight.requires_grad else quantized if weight in in_few_bits else frozen
        kind.append(weight)
    quantized_bytes = _bytes_of_quantized(**(quantization or {}))
    return model, WeightCounts(
        trained=_numel(trained),
        frozen=_numel(frozen),
        quantized_bytes=round(_numel(quantized) * quantized_bytes),
        trained_bytes=sum(weight.nbytes for weight in trained),
        frozen_bytes=sum(weight.nbytes for weight in frozen),
    )


def _bytes_of_quantized(kind: str = 'nf4', double_quantization: bool = True) -> float:
    """Return the bytes of a weight, as :func:`~geochat.models.adapters.quantize_linear_layers` keeps it."""
    if kind == 'int8':
        return INT8_BYTES
    return NF4_BYTES if double_quantization else NF4_BYTES_SINGLE


def _quantized_weights(llm: nn.Module) -> set[nn.Parameter]:
    """Return the weights that QLoRA keeps in 4 or 8 bits: those of the linear layers but the head and the adapters."""
    head = llm.get_output_embeddings()
    return {
        layer.weight
        for layer in llm.modules()
        if isinstance(layer, nn.Linear) and layer is not head and not layer.weight.requires_grad
    }


def _numel(weights: Iterable[torch.Tensor]) -> int:
    return sum(weight.numel() for weight in weights)
