import pytest
import torch
from small_parts import small_model, small_parts
from torch import nn

from geochat.structures import IGNORE_INDEX, IMAGE_TOKEN_INDEX

LENGTH = 4  # tokens of a picture of 28 pixels


@pytest.fixture(scope='module')
def model():
    return small_model()


@pytest.fixture
def pixels():
    return torch.randn(2, 3, 28, 28, generator=torch.Generator().manual_seed(1))


def batch_of(rows, side='right', **more):
    """Pad rows of ids to one length; -1 marks what is padding."""
    width = max(map(len, rows))
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros(len(rows), width, dtype=torch.bool)
    for row, values in enumerate(rows):
        columns = slice(0, len(values)) if side == 'right' else slice(width - len(values), width)
        ids[row, columns] = torch.tensor(values)
        mask[row, columns] = True
    return {'input_ids': ids, 'attention_mask': mask, **more}


def test_features_stand_where_the_image_token_stood(model, pixels):
    batch = batch_of([[1, 5, IMAGE_TOKEN_INDEX, 7], [1, 6]])
    features = model.encode_images(pixels, torch.tensor([1]))
    embeds, mask, *_ = model.splice(batch['input_ids'], batch['attention_mask'], features)
    assert embeds.shape == (2, 3 + LENGTH, model.llm.hidden_size)
    torch.testing.assert_close(embeds[0, 2 : 2 + LENGTH], features[0])
    torch.testing.assert_close(embeds[0, [0, 1, 6]], model.llm.embed(torch.tensor([1, 5, 7])))
    assert mask.tolist() == [[True] * 7, [True] * 2 + [False] * 5]
    assert (embeds[1, 2:] == 0).all()


def test_generation_pads_on_the_left(model, pixels):
    batch = batch_of([[1, 5, IMAGE_TOKEN_INDEX, 7], [1, 6]], side='left')
    features = model.encode_images(pixels, torch.tensor([0]))
    embeds, mask, *_ = model.splice(batch['input_ids'], batch['attention_mask'], features, padding='left')
    assert mask.tolist() == [[True] * 7, [False] * 5 + [True] * 2]
    torch.testing.assert_close(embeds[1, 5:], model.llm.embed(torch.tensor([1, 6])))


def test_several_pictures_of_a_record_keep_their_order_and_a_shared_one_is_encoded_once(model, pixels):
    rows = [[IMAGE_TOKEN_INDEX, 5, IMAGE_TOKEN_INDEX], [6, IMAGE_TOKEN_INDEX]]
    batch = batch_of(rows)
    features = model.encode_images(pixels, torch.tensor([1, 0, 1]))
    embeds, *_ = model.splice(batch['input_ids'], batch['attention_mask'], features)
    alone = model.projector(model.vision_encoder(pixels))
    torch.testing.assert_close(embeds[0, :LENGTH], alone[1])
    torch.testing.assert_close(embeds[0, LENGTH + 1 :], alone[0])
    torch.testing.assert_close(embeds[1, 1 : 1 + LENGTH], alone[1])


def test_labels_move_with_their_tokens_and_pictures_carry_none(model, pixels):
    batch = batch_of([[1, IMAGE_TOKEN_INDEX, 7, 2]])
    labels = torch.tensor([[IGNORE_INDEX, IGNORE_INDEX, 7, 2]])
    features = model.encode_images(pixels, torch.tensor([0]))
    _, _, spliced, _ = model.splice(batch['input_ids'], batch['attention_mask'], features, labels)
    assert spliced.tolist() == [[IGNORE_INDEX] * (1 + LENGTH) + [7, 2]]


@pytest.mark.parametrize(('tokens', 'pictures'), [(1, 0), (0, 1), (2, 1)])
def test_image_tokens_and_pictures_must_agree(model, pixels, tokens, pictures):
    batch = batch_of([[1] + [IMAGE_TOKEN_INDEX] * tokens + [5]])
    with pytest.raises(ValueError, match=f'{tokens} image tokens stand in the batch, but {pictures} pictures'):
        model(**batch, pixels=pixels[:pictures], image_index=torch.arange(pictures))


def training_batch(pixels):
    rows = [[1, IMAGE_TOKEN_INDEX, 5, 6, 7, 2], [1, 8, 9, 2], [1, 4, IMAGE_TOKEN_INDEX, 3, 2]]
    batch = batch_of(rows, pixels=pixels, image_index=torch.tensor([0, 1]))
    labels = batch['input_ids'].clone()
    labels[:, :3] = IGNORE_INDEX
    labels[~batch['attention_mask']] = IGNORE_INDEX
    return {**batch, 'labels': labels}


def test_the_loss_over_supervised_rows_equals_the_loss_over_all_rows(model, pixels):
    batch = training_batch(pixels)
    features = model.encode_images(batch['pixels'], batch['image_index'])
    _, _, labels, _ = model.splice(batch['input_ids'], batch['attention_mask'], features, batch['labels'])
    logits = model(**{**batch, 'labels': None}, mode='tensor')
    all_rows = nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORE_INDEX
    )
    result = model(**batch, mode='loss')
    torch.testing.assert_close(result['loss'], all_rows, rtol=0, atol=1e-6)
    assert result['num_supervised'] == (batch['labels'] != IGNORE_INDEX).sum() == 6


def test_a_batch_without_supervised_tokens_has_no_loss_but_a_gradient(model):
    batch = batch_of([[1, 5, 6]])
    loss = model(**batch, labels=torch.full((1, 3), IGNORE_INDEX), mode='loss')['loss']
    assert loss == 0
    loss.backward()


def test_training_reaches_projector_and_llm_and_leaves_the_frozen_encoder():
    model = small_model().train()
    model(**training_batch(torch.randn(2, 3, 28, 28)), mode='loss')['loss'].backward()
    touched = {name.split('.')[0] for name, weight in model.named_parameters() if weight.grad is not None}
    assert touched == {'projector', 'llm'}
    assert not model.vision_encoder.training


def test_an_unfrozen_encoder_learns():
    parts = small_parts()
    parts['vision_encoder']['frozen'] = False
    from geochat.models import GeoChat

    model = GeoChat(**parts)
    model(**training_batch(torch.randn(2, 3, 28, 28)), mode='loss')['loss'].backward()
    assert model.vision_encoder.model.embeddings.patch_embedding.weight.grad.abs().sum() > 0


def test_an_unknown_mode_is_named(model):
    with pytest.raises(ValueError, match="'los'"):
        model(**batch_of([[1, 5]]), mode='los')


def test_the_projector_takes_part_in_a_batch_of_text():
    model = small_model().train()
    batch = batch_of([[1, 5, 7], [1, 6]])
    loss = model(**batch, labels=batch['input_ids'].clone(), mode='loss')['loss']
    loss.backward()
    assert all((weight.grad == 0).all() for weight in model.projector.parameters())
