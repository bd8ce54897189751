import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from autoprune.errors import StorageError
from autoprune.models.packing import form_of, pack, unpack
from autoprune.models.weights import file_size, forms, load_into, tensors, to_bytes

DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64]


@given(
    st.lists(st.integers(1, 9), min_size=2, max_size=4),
    st.floats(0, 1),
    st.sampled_from(DTYPES),
    st.integers(0, 99),
)
def test_what_is_packed_is_unpacked_bit_for_bit(shape, density, dtype, seed):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(shape, generator=generator).to(dtype) * (torch.rand(shape, generator=generator) < density)
    parts = pack("w", weight)
    assert torch.equal(unpack(parts, {"w": weight.shape})["w"], weight)
    assert sum(part.numel() * part.element_size() for part in parts.values()) <= weight.numel() * weight.element_size()


@pytest.mark.parametrize(
    ("density", "form"), [(1.0, "dense"), (0.99, "dense"), (0.5, "bitmap"), (0.2, "bitmap"), (0.02, "csr")]
)
def test_the_smallest_form_is_taken(density, form):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(64, 128, generator=generator) * (torch.rand(64, 128, generator=generator) < density)
    assert {form_of(part)[1] for part in pack("w", weight)} == {form}


def test_two_of_four_are_stored_with_two_bits_a_value():
    weight = torch.randn(16, 32)
    weight.view(16, 8, 4)[:, :, ::2] = 0
    parts = pack("w", weight)
    assert {form_of(part)[1] for part in parts} == {"2:4"}
    assert sum(part.numel() * part.element_size() for part in parts.values()) == 16 * 32 * 2 + 16 * 32 // 8


def zeroed():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(32, 8), nn.Linear(8, 3))
    with torch.no_grad():
        model[0].weight *= torch.rand_like(model[0].weight) < 0.3
        model[3].weight *= torch.rand_like(model[3].weight) < 0.02
    return model


def test_a_file_has_the_size_that_is_counted_and_gives_the_model_back():
    model, other = zeroed(), zeroed()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.fill_(7.0)
    content = to_bytes(model)
    assert len(content) == file_size(model)
    assert len(content) < sum(tensor.numel() * 4 for tensor in model.state_dict().values())
    assert forms(model) == {"bitmap": 2}
    load_into(other, content, "here")
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in other.state_dict().items())


def test_a_model_without_zeros_is_stored_as_it_is():
    model = nn.Linear(4, 4)
    assert set(tensors(model)) == {"weight", "bias"}
    assert forms(model) == {}


@pytest.mark.parametrize("damage", ["drop", "foreign", "short"])
def test_parts_that_do_not_fit_are_refused_by_name(damage):
    import safetensors.torch

    parts = {name: tensor.clone() for name, tensor in tensors(zeroed()).items()}
    key = next(name for name in parts if name.endswith("bitmap.values"))
    if damage == "drop":
        del parts[key]
    elif damage == "foreign":
        parts[key.replace("0.weight", "9.weight")] = parts.pop(key)
    else:
        parts[key] = parts[key][:-3].clone()
    with pytest.raises(StorageError, match="weight"):
        load_into(zeroed(), safetensors.torch.save(parts), "here")
