"""FGM: adversarial training by perturbing the weights along the gradient.

Source: "Advancing Video Quality Assessment for AIGC", arXiv 2409.14888, algorithm 1 and equations 12-14:

    g      = gradient of the loss at the weights w
    delta  = epsilon g / ||g||, the norm over all perturbed weights     (12)
    w'     = w + delta                                                  (13)
    g_adv  = gradient of the same loss at w'
    w      = w - eta (g + g_adv), as the optimiser makes its step       (14)

The perturbed weights are the parameters that require a gradient and received one; the others stay.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from models.errors import AigcVqaError, NonFiniteError, ShapeError


class EpsilonError(AigcVqaError, ValueError):
    """An epsilon that is no radius: negative, NaN or infinite."""


def gradient_norm(gradients: list[Tensor]) -> float:
    """Euclidean norm of all gradients taken as one vector; NaN or infinity if any entry is; 0.0 for none.

    It is summed in float64: the squares of float32 gradients that carry a loss scale of 65536, or are tiny, would leave
    the range of float32 and turn a good direction into infinity or zero.

    Args:
        gradients: Of any shapes, on any devices.
    """
    if not gradients:
        return 0.0
    norms = torch._foreach_norm(gradients, 2, dtype=torch.float64)
    return float(torch.stack([norm.to(norms[0].device) for norm in norms]).norm())


@contextmanager
def perturbed(weights: nn.Module | Iterable[Tensor], epsilon: float) -> Iterator[bool]:
    """Move the weights to w + epsilon g / ||g|| (equations 12, 13) within the block; after it they are w, bit for bit.

    The weights are restored from a copy, never by subtraction, which rounds; also when the block raises.

    Args:
        weights: A module or parameters, on any device; g is what their `.grad` holds on entry. A parameter that appears
            twice (shared weights) counts once; one that is frozen or has no gradient is neither moved nor counted.
        epsilon: Euclidean length of the move over all weights together, >= 0.

    Yields:
        Whether the weights were moved. They are not for epsilon 0, for a gradient of zero (it has no direction) and for
        one with a NaN or an infinity: moving along it would make every weight NaN. Whether such a gradient is an error
        is for the caller to say.

    Raises:
        EpsilonError: Epsilon is negative, NaN or infinite.
    """
    _check_epsilon(epsilon)
    params = [param for param in _trainable(weights) if param.grad is not None] if epsilon > 0 else []
    gradients = [param.grad for param in params if param.grad is not None]
    norm = gradient_norm(gradients)
    # A norm so small that the factor leaves float32 counts as zero: inf * g is no direction either.
    moved = 0 < norm < math.inf and epsilon / norm <= torch.finfo(torch.float32).max
    if not moved:
        yield False
        return
    originals = [param.detach().clone() for param in params]
    try:
        with torch.no_grad():
            torch._foreach_add_(params, gradients, alpha=epsilon / norm)  # w + delta (13)
        # Autocast keeps the half-precision copies that it made of w, and would continue to use them.
        torch.clear_autocast_cache()
        yield True
    finally:
        with torch.no_grad():
            torch._foreach_copy_(params, originals)  # w
        torch.clear_autocast_cache()


def fgm_backward(
    module: nn.Module,
    loss_fn: Callable[[], Tensor],
    epsilon: float,
    *,
    scaler: torch.amp.GradScaler | None = None,
) -> Tensor:
    """Forward and backward at w and at w + delta: adds g + g_adv to `.grad`. The caller makes the step (equation 14).

    Gradient accumulation: delta follows the gradient of this call alone, not what `.grad` already held. Algorithm 1
    takes both gradients from one batch; the sum would mix in other batches and their g_adv.

    Statistics: buffers (BatchNorm's running mean, variance and counter) keep what the clean forward pass gave them,
    also where activation checkpointing repeats that pass inside backward.

    Several processes: with `DistributedDataParallel` as the module every process sees the same averaged g and moves its
    weights alike, so delta follows the gradient of the global batch.

    Randomness: the second pass replays the random numbers of the first (same dropout masks), from the CPU and from the
    CUDA devices of the parameters; the generators continue from where the first pass left them.

    A clean gradient of zero, or with a NaN or an infinity (float16 overflow), skips the second pass; `.grad` then holds
    g alone, for the caller or the scaler to judge.

    Args:
        module: Its trainable parameters are perturbed; its buffers are protected from the second pass.
        loss_fn: Runs the forward pass and returns the scalar loss; called once, and once more when epsilon > 0.
        epsilon: Radius of the perturbation, >= 0. With 0 this is one plain forward and backward pass.
        scaler: The loss scaler of float16 training. Both passes use its scale, so that g and g_adv add up and
            `scaler.step` unscales their sum. Nothing is unscaled here: g / ||g|| does not depend on the scale.

    Returns:
        The loss at w, detached and unscaled.

    Raises:
        EpsilonError: Epsilon is negative, NaN or infinite.
        ShapeError: The loss is no scalar.
        NonFiniteError: The loss at w + delta is not finite, and no enabled scaler is there to skip the step. After any
            error, of `loss_fn` too, the weights are w and `.grad` is what it was before the call.
    """
    _check_epsilon(epsilon)
    if epsilon == 0:
        return _backward(module, loss_fn, scaler)
    params = _trainable(module)
    accumulated = [param.grad for param in params]
    for param in params:
        param.grad = None
    cuda_devices = sorted({param.device.index for param in params if param.device.type == "cuda"})
    random_state = torch.get_rng_state()
    cuda_random_states = [torch.cuda.get_rng_state(device) for device in cuda_devices]
    try:
        loss = _backward(module, loss_fn, scaler)  # g
        with perturbed(params, epsilon) as moved:
            if moved:
                with _kept_buffers(module), torch.random.fork_rng(devices=cuda_devices):
                    torch.set_rng_state(random_state)
                    for device, state in zip(cuda_devices, cuda_random_states, strict=True):
                        torch.cuda.set_rng_state(state, device)
                    adversarial_loss = _backward(module, loss_fn, scaler)  # g + g_adv
                _check_adversarial(adversarial_loss, epsilon, scaler)
    except BaseException:
        for param, gradient in zip(params, accumulated, strict=True):
            param.grad = gradient
        raise
    _add_accumulated(params, accumulated)
    return loss


def _trainable(weights: nn.Module | Iterable[Tensor]) -> list[Tensor]:
    params = weights.parameters() if isinstance(weights, nn.Module) else weights
    return list({id(param): param for param in params if param.requires_grad}.values())


def _backward(module: nn.Module, loss_fn: Callable[[], Tensor], scaler: torch.amp.GradScaler | None) -> Tensor:
    loss = loss_fn()
    if loss.ndim != 0:
        raise ShapeError(f"the loss has shape {tuple(loss.shape)}; needed: a scalar, shape ()")
    # Activation checkpointing runs the forward pass again inside backward: statistics would count a batch twice.
    with _kept_buffers(module):
        torch.autograd.backward(loss if scaler is None else scaler.scale(loss))
    return loss.detach()


@contextmanager
def _kept_buffers(module: nn.Module) -> Iterator[None]:
    """Restore every buffer after the block to what it held before."""
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}
    try:
        yield
    finally:
        # By name: a module may have put another tensor in a buffer's place.
        after = dict(module.named_buffers())
        if after:
            with torch.no_grad():
                torch._foreach_copy_(list(after.values()), [before[name] for name in after])


def _add_accumulated(params: list[Tensor], accumulated: list[Tensor | None]) -> None:
    for param, earlier in zip(params, accumulated, strict=True):
        if earlier is None:
            continue
        if param.grad is not None:
            earlier += param.grad
        param.grad = earlier


def _check_adversarial(loss: Tensor, epsilon: float, scaler: torch.amp.GradScaler | None) -> None:
    if scaler is not None and scaler.is_enabled():
        return
    if not math.isfinite(value := float(loss)):
        raise NonFiniteError(
            f"the loss at the weights perturbed by epsilon {epsilon:g} is {value}, while the gradient at the "
            "weights themselves is finite; a smaller epsilon keeps the perturbation where the loss is defined"
        )


def _check_epsilon(epsilon: float) -> None:
    if not (math.isfinite(epsilon) and epsilon >= 0):
        raise EpsilonError(f"epsilon is {epsilon}; allowed: a finite number, 0 (off) or more")
