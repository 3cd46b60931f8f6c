import copy

import torch
from small_parts import small_model

from geochat.engine.muon import MuonAdamW, split_weights


def problem(seed=0):
    """A linear map to be learnt and its bias: one matrix, one vector."""
    torch.manual_seed(seed)
    return torch.nn.Linear(6, 4), torch.randn(32, 6), torch.randn(32, 4)


def optimizer_of(layer):
    return MuonAdamW([layer.weight], [layer.bias], lr=1e-2, muon_lr=0.02)


def step(layer, optimizer, inputs, targets):
    optimizer.zero_grad()
    loss = (layer(inputs) - targets).square().mean()
    loss.backward()
    optimizer.step()
    return loss.item()


def test_matrices_go_as_pytorchs_muon_moves_them_and_the_rest_as_adamw():
    (ours, inputs, targets), (theirs, _, _) = problem(), problem()
    optimizer = optimizer_of(ours)
    muon = torch.optim.Muon([theirs.weight], lr=0.02, momentum=0.95, weight_decay=0.0)
    adamw = torch.optim.AdamW([theirs.bias], lr=1e-2, betas=(0.9, 0.95), weight_decay=0.0)
    for _ in range(5):
        step(ours, optimizer, inputs, targets)
        theirs.zero_grad()
        (theirs(inputs) - targets).square().mean().backward()
        muon.step()
        adamw.step()
    torch.testing.assert_close(ours.weight, theirs.weight, rtol=0, atol=0)
    torch.testing.assert_close(ours.bias, theirs.bias, rtol=0, atol=0)


def test_a_schedule_reaches_both_also_after_resuming():
    layer, inputs, targets = problem()
    optimizer = optimizer_of(layer)
    step(layer, optimizer, inputs, targets)
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for group in optimizer.param_groups:
        group['lr'] = 0.0
    before = [weight.clone() for weight in (layer.weight, layer.bias)]
    step(layer, optimizer, inputs, targets)
    assert all(torch.equal(*pair) for pair in zip(before, (layer.weight, layer.bias), strict=True))


def test_resuming_goes_on_exactly():
    layer, inputs, targets = problem()
    optimizer = optimizer_of(layer)
    for _ in range(3):
        step(layer, optimizer, inputs, targets)
    other = copy.deepcopy(layer)
    resumed = optimizer_of(other)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for _ in range(3):
        assert step(layer, optimizer, inputs, targets) == step(other, resumed, inputs, targets)


def test_embeddings_head_and_frozen_weights_are_not_muons():
    model = small_model()
    matrices, others = split_weights(model)
    names = {id(weight): name for name, weight in model.named_parameters()}
    of_muon = {names[id(weight)] for weight in matrices}
    assert of_muon == {
        *('projector.0.weight', 'projector.2.weight'),
        *(name for name in names.values() if name.startswith('llm.model.model.layers.') and '_proj.' in name),
    }
    of_adamw = {names[id(weight)] for weight in others}
    assert {'llm.model.lm_head.weight', 'llm.model.model.embed_tokens.weight', 'projector.0.bias'} <= of_adamw
    assert not any(name.startswith('vision_encoder.') for name in of_muon | of_adamw)
