"""Modules: what belongs to one, names; training, moving, saving, loading, copying, printing."""

import pickle
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nn
import tensor as T
from nn import Buffer, Module, Parameter, Sequential
from tensor import Tensor
from tensor.strategies import dtypes, shapes, tensors


class Net(Module):
    """A parameter, a buffer, a module, lists and dicts of them, and attributes of other kinds."""

    def __init__(self) -> None:
        self.stem = nn.Conv2d(1, 2, 3)
        self.blocks = [
            nn.BatchNorm2d(2),
            Sequential(nn.Dropout(0.5), nn.Conv2d(2, 2, 1, bias=False)),
        ]
        self.scale = Parameter(np.full((2, 1, 1), 0.5, np.float32))
        self.labels = Buffer([3, 1])
        self.shifts = {"x": [Parameter(np.ones(1, np.float32))]}
        self.name, self.sizes, self.extra = "net", (1, 2), None

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem_output = T.tanh(self.stem(x) + self.shifts["x"][0])
        for block in self.blocks:
            x = block(x)
        return self.scale * x


NAMES = [
    "scale",
    "labels",
    "shifts.x.0",
    "stem.weight",
    "stem.bias",
    "blocks.0.weight",
    "blocks.0.bias",
    "blocks.0.running_mean",
    "blocks.0.running_var",
    "blocks.1.1.weight",
]
BUFFERS = {"labels", "blocks.0.running_mean", "blocks.0.running_var"}

images = Tensor(np.random.default_rng(0).standard_normal((4, 1, 5, 5)), dtype=np.float32)


def module_of(parts: dict[str, Any]) -> Module:
    module = Module()
    vars(module).update(parts)
    return module


attributes = st.sampled_from("abcdef")
values = tensors(shapes(max_dims=2), dtypes())
leaves = (
    values.map(Parameter)
    | values.map(Buffer)
    | st.just(7).map(Buffer)
    | values
    | st.sampled_from(["text", None])
)


def containers(inner: st.SearchStrategy) -> st.SearchStrategy:
    lists, dicts = st.lists(inner, max_size=2), st.dictionaries(attributes, inner, max_size=4)
    return lists | lists.map(tuple) | dicts | dicts.map(module_of)


parts = st.recursive(leaves, containers, max_leaves=10)
modules = st.dictionaries(attributes, parts, max_size=4).map(module_of)


def at(part: Any, path: str) -> Any:
    """What a path like "blocks.1.weight" leads to."""
    for key in path.split("."):
        part = vars(part) if isinstance(part, Module) else part
        part = part[key] if isinstance(part, dict) else part[int(key)]
    return part


def planted(part: Any) -> list[Tensor]:
    """All parameters and buffers in a tree of modules, lists, tuples and dicts."""
    if isinstance(part, (Parameter, Buffer)):
        return [part]
    part = vars(part) if isinstance(part, Module) else part
    below = (
        part.values() if isinstance(part, dict) else part if isinstance(part, (list, tuple)) else []
    )
    return [x for p in below for x in planted(p)]


def snapshot(module: Module) -> dict[str, np.ndarray]:
    return {name: x.numpy().copy() for name, x in module.named_tensors()}


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return list(a) == list(b) and all(np.array_equal(a[name], b[name]) for name in a)


def backward(module: Module, x: Tensor = images) -> None:
    module(x).square().mean().backward()


def train(module: Module) -> None:
    backward(module)
    nn.SGD(module.parameters(), lr=0.1).step()


# Names


@given(module=modules)
def test_names_are_the_paths_of_attributes(module: Module) -> None:
    found = dict(module.named_tensors())
    assert all(at(module, name) is x for name, x in found.items())
    assert sorted(map(id, found.values())) == sorted(map(id, planted(module)))


def test_the_names_of_a_network() -> None:
    assert [name for name, _ in Net().named_tensors()] == NAMES


@given(module=modules)
def test_parameters_are_the_tensors_of_that_class(module: Module) -> None:
    named = dict(module.named_parameters())
    assert {name for name, x in module.named_tensors() if isinstance(x, Parameter)} == set(named)
    assert [id(x) for x in module.parameters()] == [id(x) for x in named.values()]


def test_a_shared_parameter_is_one_parameter() -> None:
    class Tied(Module):
        def __init__(self) -> None:
            self.encoder, self.decoder = nn.Linear(2, 2), nn.Linear(2, 2, bias=False)
            self.decoder.weight = self.encoder.weight

    net = Tied()
    assert list(net.state_dict()) == ["encoder.weight", "encoder.bias", "decoder.weight"]
    assert [name for name, _ in net.named_parameters()] == ["encoder.weight", "encoder.bias"]


@pytest.mark.parametrize("key", ["a.b", 1.5, None])
def test_names_that_could_stand_for_two_parts_are_refused(key) -> None:
    net = Module()
    net.parts = {key: "no part"}
    assert not list(net.parameters())
    for part in (Parameter([1.0]), [Parameter([1.0])]):
        net.parts[key] = part
        with pytest.raises(
            ValueError,
            match="the key of a part of a module must be an integer, or a str without a dot",
        ):
            list(net.parameters())


@pytest.mark.parametrize("name", ["scale", "labels"])
def test_a_tensor_does_not_replace_a_parameter_or_buffer(name: str) -> None:
    """It would leave the network without a word."""
    net = Net()
    kind = type(getattr(net, name)).__name__
    with pytest.raises(TypeError, match=rf"Net.{name} is a {kind}: .* copy_\(\), or set another"):
        setattr(net, name, getattr(net, name) * 2)
    setattr(net, name, type(getattr(net, name))(T.ones(3)))
    assert dict(net.named_tensors())[name].shape == (3,)
    setattr(net, name, None)
    assert name not in dict(net.named_tensors())


def test_a_buffer_can_be_registered() -> None:
    net, values = nn.Linear(1, 1, bias=False), Tensor([1, 2])
    net.register_buffer("steps", values)
    net.register_buffer("nothing", None)
    assert [*net.state_dict()] == ["weight", "steps"] and net.nothing is None  # type: ignore
    assert net.steps.numpy().tolist() == [1, 2] and isinstance(net.steps, Buffer)  # type: ignore
    with pytest.raises(ValueError, match="register_buffer: persistent=False is not supported"):
        net.register_buffer("steps", values, persistent=False)


def test_an_attribute_that_is_replaced_leaves_the_module() -> None:
    net = Net()
    net.stem = nn.ReLU()  # type: ignore[assignment]
    assert [name for name, _ in net.named_tensors()] == [
        name for name in NAMES if not name.startswith("stem")
    ]


def test_a_parameter_is_a_leaf_and_what_it_makes_is_a_tensor() -> None:
    p = Parameter(np.ones(3))
    assert (
        p.requires_grad
        and p.is_leaf
        and not Parameter(np.ones(3), requires_grad=False).requires_grad
    )
    assert type(p + 1) is type(p.detach()) is Tensor


def test_what_a_forward_keeps_is_no_part_of_the_network() -> None:
    net = Net()
    with T.no_grad():
        net(images)
    assert net.stem_output.is_leaf and list(net.state_dict()) == NAMES


def test_a_call_passes_keywords_on() -> None:
    class Scale(Module):
        def forward(self, x: Tensor, *, by: float) -> Tensor:
            return x * by

    assert Scale()(T.ones(1), by=3.0).item() == 3


def test_modules_are_named_and_a_shared_one_comes_once() -> None:
    act = nn.ReLU()
    net = Sequential(nn.Linear(1, 1), act, Sequential(act, nn.Tanh()))
    assert [name for name, _ in net.named_modules()] == ["", "0", "1", "2", "2.1"]
    assert [*net.modules()] == [net, net[0], act, net[2], net[2][1]]
    assert [*net.children()] == [net[0], act, net[2]]


def test_apply_reaches_every_module_those_below_first() -> None:
    net, reached = Net(), []
    assert net.apply(reached.append) is net
    assert {*reached} == {*net.modules()} and reached[-1] is net
    assert reached.index(net.blocks[1][1]) < reached.index(net.blocks[1])


def test_a_module_without_forward_says_so() -> None:
    with pytest.raises(NotImplementedError, match=r"Module has no forward\(\)"):
        Module()(1)


# Training


@given(module=modules, mode=st.booleans())
def test_train_and_eval_reach_every_module(module: Module, mode: bool) -> None:
    assert all(part.training for part in module.modules())
    assert (module.train(mode) if mode else module.eval()) is module
    assert all(part.training is mode for part in module.modules())


def test_evaluation_changes_what_dropout_and_batch_norm_do() -> None:
    net = Net().eval()
    before = snapshot(net)
    assert np.array_equal(net(images).numpy(), net(images).numpy()) and same(snapshot(net), before)
    net.train()
    assert not np.array_equal(net(images).numpy(), net(images).numpy()) and not same(
        snapshot(net), before
    )


def test_zero_grad_forgets_all_gradients() -> None:
    net = Net()
    backward(net)
    assert all(p.grad is not None for p in net.parameters())
    net.zero_grad(set_to_none=True)
    assert all(p.grad is None for p in net.parameters())
    with pytest.raises(ValueError, match="zero_grad: set_to_none=False is not supported"):
        net.zero_grad(set_to_none=False)


def test_requires_grad_freezes_and_thaws() -> None:
    net = Net()
    backward(net)
    assert net.requires_grad_(False) is net and not any(p.requires_grad for p in net.parameters())
    assert not net(images).requires_grad
    net.zero_grad()
    net.requires_grad_()
    assert all(p.grad is None for p in net.parameters())
    assert {name for name, x in net.named_tensors() if x.requires_grad} == {*NAMES} - BUFFERS


# To another dtype or device


@given(module=modules, dtype=dtypes())
def test_to_casts_what_is_floating_point(module: Module, dtype: np.dtype) -> None:
    before, wanted = snapshot(module), [x.requires_grad for _, x in module.named_tensors()]
    tensors = planted(module)
    assert module.to(dtype) is module and all(
        x is y for x, y in zip(planted(module), tensors, strict=True)
    )
    for name, x in module.named_tensors():
        assert x.dtype == (dtype if before[name].dtype.kind == "f" else before[name].dtype)
        assert np.array_equal(x.numpy(), before[name].astype(x.dtype))
    assert [x.requires_grad for _, x in module.named_tensors()] == wanted


def test_gradients_have_the_dtype_after_to() -> None:
    net = Net()
    backward(net)
    net.to("float64")
    assert all(p.grad is None for p in net.parameters())
    backward(net, images.to("float64"))
    assert all(np.asarray(p.grad).dtype == np.float64 for p in net.parameters())


def test_to_moves_everything_to_a_device(device: str) -> None:
    net = Net().eval()
    before, y = snapshot(net), net(images)
    net.to(device)
    assert all(x.device.startswith(device) for _, x in net.named_tensors()) and same(
        snapshot(net), before
    )
    np.testing.assert_allclose(net(images.to(device)).numpy(), y.numpy(), rtol=1e-4, atol=1e-5)


def test_to_has_short_forms() -> None:
    net = Net()
    assert net.double() is net.cpu() is net and net.scale.dtype == np.float64
    assert net.float().scale.dtype == np.float32


@pytest.mark.parametrize("moves", [["cpu", "cuda"], ["cuda", "cpu"]])
def test_optimizers_and_averages_follow_to_another_device(moves: list[str]) -> None:
    """Step by step as one that stays."""

    def weights(devices: list[str]) -> list[np.ndarray]:
        T.manual_seed(0)
        net = nn.Sequential(nn.Linear(3, 2), nn.Conv2d(1, 2, 3, padding=1))
        optimizer, ema = nn.Adam(net.parameters(), 0.1), nn.EMA(net.parameters(), 0.5)
        for device in devices:
            net.to(device)
            x = T.ones(1, 1, 3, 3, device=device)
            optimizer.zero_grad()
            net(x).square().sum().backward()
            optimizer.step()
            ema.update()
        net.to(devices[0])
        with ema.applied():
            assert all(p.device.startswith(devices[0]) for p in net.parameters())
            return [p.numpy() for p in net.parameters()]

    for moved, stayed in zip(weights(moves), weights(["cpu", "cpu"]), strict=True):
        np.testing.assert_allclose(moved, stayed, rtol=1e-4, atol=1e-6)


def test_an_optimizer_goes_on_after_to() -> None:
    net = Net()
    optimizer = nn.SGD(net.parameters(), lr=0.1)
    before = snapshot(net.to("float64"))
    backward(net, images.to("float64"))
    optimizer.step()
    assert all(
        p.dtype == np.float64 and not np.array_equal(p.numpy(), before[n])
        for n, p in net.named_parameters()
    )


@pytest.mark.parametrize("move", ["cuda", "float64"])
def test_a_gradient_on_its_way_to_where_a_parameter_was_is_not_lost_in_silence(move: str) -> None:
    net, still = nn.Linear(2, 1), T.ones(1, requires_grad=True)
    optimizer = nn.SGD(net.parameters())
    loss = (net(T.ones(1, 2)) * still).sum()
    net.to(move)
    with pytest.raises(RuntimeError, match="backward: .* by to\\(\\): compute this tensor again"):
        loss.backward(retain_graph=True)
    assert still.grad is None
    loss.backward(inputs=[still])
    assert still.grad is not None
    with pytest.raises(RuntimeError, match="before step\\(\\), and after any to\\(\\)"):
        optimizer.step()


@pytest.mark.parametrize("wrong", ["half", "complex64", np.int64, None, "gpu"], ids=str)
def test_to_refuses_what_is_no_device_and_cannot_be_trained_and_changes_nothing(wrong) -> None:
    net = Net()
    before = snapshot(net)
    with pytest.raises(
        (ValueError, TypeError),
        match="use float32, float64|are float32 or float64|neither a device|expected a device",
    ):
        net.to(wrong)
    assert same(snapshot(net), before) and all(
        p.requires_grad and p.dtype == np.float32 for p in net.parameters()
    )


# State


def test_a_state_dict_is_a_snapshot_that_training_does_not_touch() -> None:
    net = Net()
    state, before = net.state_dict(), snapshot(net)
    train(net)
    assert list(state) == NAMES and not any(x.requires_grad for x in state.values())
    assert same({name: x.numpy() for name, x in state.items()}, before)
    changed = {name for name, x in snapshot(net).items() if not np.array_equal(x, before[name])}
    assert changed == {*NAMES} - {"labels"}


@given(module=modules, as_arrays=st.booleans())
def test_a_state_dict_carries_all_values_over(module: Module, as_arrays: bool) -> None:
    state, before = module.state_dict(), snapshot(module)
    for x in planted(module):
        x.copy_(x.numpy() + 1)
    module.load_state_dict({name: x.numpy() for name, x in state.items()} if as_arrays else state)
    assert same(snapshot(module), before)


def test_states_travel_between_devices(device: str, tmp_path: Path) -> None:
    here, there = (nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)) for _ in range(2))
    there.to(device)
    state = {name: x.numpy() for name, x in here.state_dict().items()}
    there.load_state_dict(here.state_dict())
    nn.safetensors.save_file(there.state_dict(), tmp_path / "net")
    for loaded in (there.state_dict(), nn.safetensors.load_file(tmp_path / "net")):
        for x in here.parameters():
            x.copy_(x.numpy() + 1)
        here.load_state_dict(loaded)
        assert same(snapshot(here), state) and same(snapshot(there), state)
    assert all(x.device.startswith(device) for x in there.parameters())
    assert all(x.device == "cpu" for x in here.parameters())


def test_loading_keeps_dtype_and_copies() -> None:
    net = nn.Linear(1, 2, bias=False)
    values = np.array([[1.5], [2.5]])
    net.load_state_dict({"weight": values})
    values[:] = 0
    assert net.weight.dtype == np.float32 and net.weight.numpy().tolist() == [[1.5], [2.5]]
    assert net.weight.requires_grad


def test_loading_passes_over_what_torchs_batch_norm_counts() -> None:
    for net, prefix in ((nn.BatchNorm2d(2), ""), (nn.Sequential(nn.BatchNorm2d(2)), "0.")):
        net.load_state_dict(net.state_dict() | {f"{prefix}num_batches_tracked": np.array(5)})


@given(
    missing=st.sets(st.sampled_from(NAMES)),
    unexpected=st.sets(st.sampled_from(["w", "blocks.2.bias", ""])),
)
def test_loading_lists_all_names_that_do_not_fit_and_takes_nothing(
    missing: set[str], unexpected: set[str]
) -> None:
    net, state = Net(), Net().state_dict() | dict.fromkeys(unexpected, T.ones(1))
    before = snapshot(net)
    for name in missing:
        del state[name]
    others = net.load_state_dict(dict(state), strict=False)
    assert others == (sorted(missing), sorted(unexpected))
    changed = {name for name, x in snapshot(net).items() if not np.array_equal(x, before[name])}
    assert changed == {"stem.weight", "stem.bias", "blocks.1.1.weight"} - missing
    before = snapshot(net)
    net.stem.weight.copy_(before["stem.weight"] + 1)
    before = snapshot(net)
    if missing or unexpected:
        with pytest.raises(KeyError) as caught:
            net.load_state_dict(state)
        assert (
            caught.value.args[0]
            == f"Net: missing {sorted(missing)}, unexpected {sorted(unexpected)}"
        )
        assert same(snapshot(net), before)
    else:
        net.load_state_dict(state)
        assert not same(snapshot(net), before)


MISFITS: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "shape": (lambda x: x.unsqueeze(0), "{x.dtype} {shape}"),
    "complex": (lambda x: x.numpy() + 1j, "complex{bits} {x.shape}"),
    "None": (lambda x: None, "NoneType"),
    "text": (lambda x: "one", "<U3 ()"),
    "ragged": (lambda x: [[1.0], [1.0, 2.0]], "list"),
}


@pytest.mark.parametrize(("misfit", "told"), MISFITS.values(), ids=MISFITS.keys())
@given(wrong=st.sets(st.sampled_from(NAMES), min_size=1))
def test_loading_lists_all_values_that_do_not_fit_and_takes_nothing(
    misfit: Callable, told: str, wrong: set[str]
) -> None:
    net, state = Net(), Net().state_dict()
    before = snapshot(net)
    with pytest.raises(ValueError) as caught:
        net.load_state_dict(state | {name: misfit(state[name]) for name in wrong})
    messages = str(caught.value).removeprefix("Net: ").split("; ")
    expected = []
    for name in [name for name in NAMES if name in wrong]:
        x = state[name]
        given = told.format(x=x, shape=(1, *x.shape), bits=128 if x.dtype == np.int64 else 64)
        expected.append(f"{name}: expected {x.dtype} {x.shape}, got {given}")
    assert messages == expected and same(snapshot(net), before)


def test_loading_does_not_cut_fractions_off() -> None:
    net = module_of({"steps": Buffer([1, 2])})
    with pytest.raises(ValueError, match=r"steps: expected int64 \(2,\), got float64 \(2,\)"):
        net.load_state_dict({"steps": [1.0, 2.5]})


def test_loading_wants_a_dict() -> None:
    with pytest.raises(TypeError, match="Net: expected a dict of tensors by name, got NoneType"):
        Net().load_state_dict(None)  # type: ignore[arg-type]


# Copies


def through_a_pickle(module: Module) -> Module:
    return pickle.loads(pickle.dumps(module))


@pytest.mark.parametrize("copied", [deepcopy, through_a_pickle])
def test_a_copy_trains_by_itself(copied: Callable) -> None:
    net = Net()
    twin = copied(net)
    before = snapshot(net)
    train(twin)
    assert same(snapshot(net), before) and not same(snapshot(twin), before)
    assert all(p.grad is None for p in net.parameters())
    after = snapshot(twin)
    train(net)
    assert same(snapshot(twin), after)


@pytest.mark.parametrize("copied", [deepcopy, through_a_pickle])
@given(module=modules)
def test_a_copy_has_the_same_values_in_other_tensors(copied: Callable, module: Module) -> None:
    twin = copied(module)
    assert same(snapshot(twin), snapshot(module))
    for x, y in zip(planted(module), planted(twin), strict=True):
        assert x is not y and type(x) is type(y) and x.requires_grad == y.requires_grad


# Sequential


def test_sequential_applies_its_modules_in_order() -> None:
    first, second = nn.Linear(2, 3), nn.Linear(3, 4)
    net = Sequential(first, nn.Tanh(), second)
    x = T.randn(5, 2)
    assert np.array_equal(net(x).numpy(), second(T.tanh(first(x))).numpy())
    assert [name for name, _ in net.named_parameters()] == [
        "0.weight",
        "0.bias",
        "2.weight",
        "2.bias",
    ]


def test_an_empty_sequential_is_the_identity() -> None:
    assert Sequential()(images) is images


@given(n=st.integers(0, 12))
def test_a_sequential_is_a_sequence(n: int) -> None:
    parts = [nn.ReLU() for _ in range(n)]
    net = Sequential(*parts)
    assert len(net) == n and list(net) == parts
    assert all(net[k] is part and net[k - n] is part for k, part in enumerate(parts))
    with pytest.raises(IndexError):
        net[n]


@given(cut=st.slices(5))
def test_a_slice_of_a_sequential_is_a_sequential_with_the_same_names(cut: slice) -> None:
    net = Sequential(*(nn.Linear(1, 1) for _ in range(5)))
    part = net[cut]
    assert type(part) is Sequential and list(part) == list(net)[cut]
    assert [name for name, _ in part.named_children()] == [str(k) for k in range(5)[cut]]


def test_sequential_refuses_what_is_no_module() -> None:
    """A function would be no child, so forward() would leave it out without a word."""
    with pytest.raises(TypeError, match=r"Sequential: .*function"):
        Sequential(nn.Linear(2, 3), T.tanh)  # type: ignore[arg-type]


# ModuleList


def test_the_modules_of_a_module_list_belong_to_the_network() -> None:
    class Tower(Module):
        def __init__(self) -> None:
            super().__init__()
            self.floors = nn.ModuleList(nn.Linear(2, 2, bias=False) for _ in range(2))
            self.floors.append(nn.Tanh())

        def forward(self, x: Tensor) -> Tensor:
            for floor in self.floors:
                x = floor(x)
            return x

    net, x = Tower(), T.randn(3, 2)
    assert [*net.state_dict()] == ["floors.0.weight", "floors.1.weight"]
    assert net(x).numpy().tolist() == Sequential(*net.floors)(x).numpy().tolist()
    assert len(net.floors) == 3 and isinstance(net.floors[-1], nn.Tanh)


def test_a_slice_of_a_module_list_counts_anew_and_grows() -> None:
    parts = [nn.ReLU() for _ in range(4)]
    part = nn.ModuleList(parts)[1:3]
    assert type(part) is nn.ModuleList and [*part] == parts[1:3]
    assert [name for name, _ in part.append(parts[0]).named_children()] == ["0", "1", "2"]


def test_what_is_appended_to_a_slice_replaces_nothing() -> None:
    parts = [nn.ReLU() for _ in range(4)]
    assert [*Sequential(*parts)[1:3].append(parts[3])] == parts[1:]


def test_a_module_list_refuses_what_is_no_module() -> None:
    with pytest.raises(TypeError, match=r"ModuleList: .*function.* is no module"):
        nn.ModuleList([T.tanh])  # type: ignore[list-item]


# repr


def test_repr_shows_the_tree_and_the_settings() -> None:
    class Pair(Module):
        def __init__(self) -> None:
            self.kind, self.pads = "small", (1, 2)
            self.parts = (nn.ReLU(), Sequential(nn.Dropout(0.25)))

    assert repr(Pair().eval()) == "\n".join(
        [
            "Pair(kind='small', pads=(1, 2)",
            "  (parts.0): ReLU()",
            "  (parts.1): Sequential(",
            "    (0): Dropout(p=0.25)",
            "  )",
            ")",
        ]
    )


SIZES = {
    "Linear(in_features=2, out_features=3)": nn.Linear(2, 3),
    "Conv2d(in_channels=2, out_channels=4, kernel_size=3, stride=1, padding=1, "
    "dilation=1, groups=2)": nn.Conv2d(2, 4, 3, padding=1, groups=2),
    "GroupNorm(num_groups=2, num_channels=4, eps=1e-05, silu=False)": nn.GroupNorm(2, 4),
    "BatchNorm2d(num_features=3, eps=1e-05, momentum=0.1)": nn.BatchNorm2d(3),
    "Embedding(num_embeddings=3, embedding_dim=2)": nn.Embedding(3, 2),
}


@pytest.mark.parametrize("text", SIZES)
def test_repr_shows_the_sizes_of_a_layer(text: str) -> None:
    assert repr(SIZES[text]) == text
