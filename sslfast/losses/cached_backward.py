"""Contrastive batches larger than what the encoder's activations leave room for: gradients by way of the embeddings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import get_device_states, set_device_states

from sslfast import _check
from sslfast.losses._inputs import without_autocast

Input = Tensor | Sequence[Tensor] | Mapping[str, Tensor]
Encoder = Callable[..., Any]

_NAME = "cached_backward"


def cached_backward(
    loss_fn: Callable[..., Tensor],
    encoders: Encoder | Sequence[Encoder],
    inputs: Sequence[Input],
    *,
    chunk_size: int,
    scaler: Any = None,
    no_sync: Callable[[], AbstractContextManager[Any]] | None = None,
) -> Tensor:
    """Forward and backward of a loss over a whole batch, with the activations of ``chunk_size`` samples at a time.

    Has the effect of

    ``loss = loss_fn(*(encoder(x) for encoder, x in zip(encoders, inputs)))``; ``loss.backward()``

    and the same gradients to rounding, for one more forward pass of the encoders: the batch is embedded in chunks
    without a graph; the loss of all embeddings gives their gradients; the chunks are embedded again, each with its
    graph, which takes its part of the gradients back to the parameters. Beside one chunk's activations there is memory
    for the inputs, the embeddings, their gradients and what the loss needs.

    The second time a chunk draws the random numbers of the first, on the CPU and on the devices of its inputs and its
    encoder: dropout repeats, and what a step draws is what it would without this function. autocast around the call
    holds for embedding and loss, and is off in backward. What an encoder does to its buffers it does twice: BatchNorm
    sees chunks instead of the batch, and moves its running statistics once more. Parameters of the loss, such as a
    learnable temperature, get their gradients too.

    Over several ranks: encoders in DistributedDataParallel reduce their gradients once, in the last chunk, and a loss
    with ``gather_distributed`` contrasts the chunks of all ranks with one another. A loss's own parameters are outside;
    such losses give every rank their whole gradient. Ranks may have different numbers of chunks.

    Args:
        loss_fn: takes what the encoders return, the embeddings of all samples, in order; returns one number.
        encoders: a module or function that embeds each of the inputs, or a list with one for each of them. Returns the
            (n, ...) embeddings of n samples, or a tuple of several. A tensor of no dimension, as the scale that a
            model of images and texts may return beside them, goes to the loss as it is in the last chunk. A model that
            returns a mapping, as open_clip's with ``output_dict=True``, goes into a function that makes it a tuple in
            the order of the loss's arguments; ``no_sync`` is then that of the model.
        inputs: a list with an entry for each call of an encoder: a tensor for ``encoder(x)``, a tuple for
            ``encoder(*x)``, or a mapping for ``encoder(**x)``; all tensors (N, ...). Two views are
            ``[view0, view1]``, images and texts for a model of both ``[(images, texts)]``. Entries may differ in N.
        chunk_size: samples of an entry to embed at once; the last chunk may have fewer.
        scaler: a ``torch.amp.GradScaler``, whose ``scale`` multiplies the loss before backward; ``scaler.step`` and
            ``scaler.update`` are up to the caller. Default: None.
        no_sync: gives a context in which gradients are not reduced, for all chunks but the last of all. Default: None,
            each encoder's own ``no_sync`` if it has one, for all its chunks but its last.

    Returns:
        The loss, detached and unscaled. Gradients are added to ``.grad``, as backward does.

    Raises:
        TypeError: if ``chunk_size`` is not an int, an encoder, ``loss_fn`` or ``no_sync`` is not callable, ``scaler``
            has no method ``scale``, ``inputs`` is not a list or a tuple of tensors, tuples and mappings of tensors, or
            an encoder does not return floating-point tensors, ``loss_fn`` a tensor or ``no_sync`` a context manager.
        ValueError: if ``chunk_size`` is below 1, ``inputs`` is empty or not as long as ``encoders``, the tensors of an
            entry have no rows or different numbers of them, an encoder returns another number of rows than it got, or
            ``loss_fn`` more than one number, or one that does not require a gradient.

    Example:
        >>> criterion = NTXentLoss(temperature=0.1)
        >>> loss = cached_backward(criterion, model, [view0, view1], chunk_size=64)
        >>> optimizer.step()

    Reference: Gao et al., "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup", RepL4NLP 2021.
    """
    size = _check.integer(_NAME, "chunk_size", chunk_size, 1)
    for argument, function in (("loss_fn", loss_fn), ("no_sync", no_sync)):
        if not callable(function) and (argument == "loss_fn" or function is not None):
            raise TypeError(f"{_NAME}: {argument} must be callable, got {type(function).__name__}")
    if scaler is not None and not callable(getattr(scaler, "scale", None)):
        raise TypeError(f"{_NAME}: scaler must have a method scale, got {type(scaler).__name__}")
    batches = [_Batch(*each, size) for each in _paired(encoders, inputs)]
    for batch in batches:
        batch.embed()
    loss = loss_fn(*(leaf for batch in batches for leaf in batch.leaves))
    if not isinstance(loss, Tensor):
        raise TypeError(f"{_NAME}: loss_fn must return a tensor, got {type(loss).__name__}")
    if loss.numel() != 1:
        raise ValueError(f"{_NAME}: loss_fn must return one number, got shape {tuple(loss.shape)}")
    if not loss.requires_grad:
        raise ValueError(f"{_NAME}: loss_fn must return a loss that requires a gradient")
    with without_autocast(loss):
        (loss if scaler is None else scaler.scale(loss)).backward()
    batches = [batch for batch in batches if batch.has_gradients()]
    # What is embedded last by each encoder, or by any.
    last = {id(batch.encoder) if no_sync is None else 0: batch for batch in batches}
    for batch in batches:
        quiet = getattr(batch.encoder, "no_sync", nullcontext) if no_sync is None else no_sync
        batch.replay(quiet, reduces=batch in last.values())
    return loss.detach()


def _paired(
    encoders: Encoder | Sequence[Encoder], inputs: Sequence[Input]
) -> Iterator[tuple[str, Encoder, str, Input]]:
    """Every encoder and its input, each after its name in an error."""
    if not isinstance(inputs, (list, tuple)):
        raise TypeError(f"{_NAME}: inputs must be a list or a tuple, got {type(inputs).__name__}")
    if len(inputs) == 0:
        raise ValueError(f"{_NAME}: inputs must have at least one entry, got none")
    several = isinstance(encoders, (list, tuple, nn.ModuleList))
    towers = list(encoders) if several else [encoders] * len(inputs)  # type: ignore[arg-type]
    if len(towers) != len(inputs):
        raise ValueError(f"{_NAME}: encoders must be one or {len(inputs)}, as many as inputs, got {len(towers)}")
    for index, (tower, entry) in enumerate(zip(towers, inputs, strict=True)):
        name = f"encoders[{index}]" if several else "encoders"
        if not callable(tower):
            raise TypeError(f"{_NAME}: {name} must be callable, got {type(tower).__name__}")
        yield name, tower, f"inputs[{index}]", entry


class _Batch:
    """One input and its encoder.

    Attributes:
        leaves: after ``embed``, what the loss takes, as leaves of its graph.
    """

    def __init__(self, name: str, encoder: Encoder, input_name: str, entry: Input, chunk_size: int) -> None:
        self.name, self.encoder = name, encoder
        if isinstance(entry, Mapping):
            parts: dict[Any, Tensor] = dict(entry.items())
        elif isinstance(entry, (list, tuple)):
            parts = dict(enumerate(entry))
        elif isinstance(entry, Tensor):
            parts = {0: entry}
        else:
            expected = "a tensor, or a tuple or a mapping of tensors"
            raise TypeError(f"{_NAME}: {input_name} must be {expected}, got {type(entry).__name__}")
        self.by_keyword = isinstance(entry, Mapping)
        for key, value in parts.items():
            if not isinstance(value, Tensor):
                raise TypeError(f"{_NAME}: {input_name}[{key!r}] must be a tensor, got {type(value).__name__}")
        lengths = {len(value) if value.dim() else 0 for value in parts.values()}
        if len(lengths) != 1 or 0 in lengths:
            shapes = [tuple(value.shape) for value in parts.values()]
            raise ValueError(f"{_NAME}: {input_name} must have tensors of (N, ...) with one N >= 1, got {shapes}")
        self.parts = parts
        (count,) = lengths
        self.chunks = [slice(start, min(start + chunk_size, count)) for start in range(0, count, chunk_size)]
        self.draws: list[_Draws] = []
        self.leaves: list[Tensor] = []

    def _call(self, chunk: slice) -> list[Tensor]:
        # In some versions of torch the casts that autocast keeps from a pass without a graph cut those of the next.
        torch.clear_autocast_cache()
        parts = {key: value[chunk] for key, value in self.parts.items()}
        found = self.encoder(**parts) if self.by_keyword else self.encoder(*parts.values())
        outputs = list(found) if isinstance(found, (list, tuple)) else [found]
        for output in outputs:
            if not isinstance(output, Tensor) or not output.is_floating_point():
                got = output.dtype if isinstance(output, Tensor) else type(output).__name__
                expected = "a floating-point tensor or a tuple of them"
                raise TypeError(f"{_NAME}: {self.name} must return {expected}, got {got}")
            rows = chunk.stop - chunk.start
            if output.dim() > 0 and len(output) != rows:
                expected = f"({rows}, ...) for {rows} samples"
                raise ValueError(f"{_NAME}: {self.name} must return {expected}, got {tuple(output.shape)}")
        return outputs

    def embed(self) -> None:
        """Embeds all chunks without a graph."""
        embedded = []
        with torch.no_grad():
            for chunk in self.chunks:
                self.draws.append(_Draws(self.parts, self.encoder))
                embedded.append(self._call(chunk))
        for outputs in zip(*embedded, strict=True):
            whole = torch.cat(outputs) if outputs[0].dim() else outputs[-1].clone()
            self.leaves.append(whole.requires_grad_())

    def has_gradients(self) -> bool:
        """Whether the loss depends on what was embedded."""
        return any(leaf.grad is not None for leaf in self.leaves)

    def replay(self, quiet: Callable[[], AbstractContextManager[Any]], reduces: bool) -> None:
        """Embeds all chunks again and takes the gradients back, all in ``quiet`` but the last one if it ``reduces``."""
        for chunk, draws in zip(self.chunks, self.draws, strict=True):
            last = chunk is self.chunks[-1]
            context = nullcontext() if last and reduces else quiet()
            if not isinstance(context, AbstractContextManager):
                got = type(context).__name__
                raise TypeError(f"{_NAME}: no_sync must give a context manager, got {got}")
            with context:
                with draws.again():
                    outputs = self._call(chunk)
                if not any(output.requires_grad for output in outputs):
                    return  # a frozen encoder
                roots, grads = [], []
                for output, leaf in zip(outputs, self.leaves, strict=True):
                    if leaf.grad is not None and output.requires_grad and (output.dim() or last):
                        roots.append(output)
                        grads.append(leaf.grad[chunk] if output.dim() else leaf.grad)
                if roots:
                    with without_autocast(roots[0]):
                        torch.autograd.backward(roots, grads)


class _Draws:
    """The state of the random generators of the CPU and of the devices of some tensors and an encoder."""

    def __init__(self, parts: Mapping[Any, Tensor], encoder: Encoder) -> None:
        tensors = [*parts.values(), *(encoder.parameters() if isinstance(encoder, nn.Module) else ())]
        devices = {t.device: t for t in tensors if t.device.type not in ("cpu", "meta")}
        self.cpu = torch.get_rng_state()
        self.type = next(iter(devices)).type if devices else "cuda"
        self.devices, self.states = get_device_states(*devices.values()) if devices else ([], [])

    @contextmanager
    def again(self) -> Iterator[None]:
        """A context that draws from that state, and leaves the generators as they are."""
        with torch.random.fork_rng(self.devices, device_type=self.type):
            torch.set_rng_state(self.cpu)
            set_device_states(self.devices, self.states, device_type=self.type)
            yield
