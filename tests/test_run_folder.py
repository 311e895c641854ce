"""A model comes back from its folder to the last bit, or is refused; nothing in a folder is ever run."""

from __future__ import annotations

import json
import os
import shutil
import stat
import tomllib
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

import reparam as rp
from refusals import refused
from reparam.data import Schema
from reparam.errors import RunFolderError
from reparam.run import CONFIG, MODEL, SCHEMA, atomic_write, describe, dump_toml, open_run, read_config, rebuild
from reparam.run.files import read_tensors, write_tensors
from reparam.run.folder import read_history

QUICK = settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
FOLDER = (RunFolderError,)


def rejected(call, *words):
    return refused(call, *words, kinds=FOLDER)


def draw(vae: rp.VAE, x: torch.Tensor):
    """Every number that the model gives for these data and a fixed seed."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        with torch.no_grad():
            d = vae.eval()(x, k=3, check=False)
            return d.z, d.log_px, d.log_pz, d.log_qz, vae.reconstruct(x), vae.sample(2)


def same(one: rp.VAE, other: rp.VAE, x: torch.Tensor) -> bool:
    pairs = zip(draw(one, x), draw(other, x), strict=True)
    return all(a.dtype == b.dtype and torch.equal(a, b) for a, b in pairs)


def shaken(vae: rp.VAE) -> rp.VAE:
    """With weights that no initialisation gives."""
    with torch.no_grad():
        for p in vae.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return vae


def small() -> rp.VAE:
    return shaken(rp.recipes.vae(3, 2, hidden=(4,)))


def data(*shape: int, dtype=torch.float32) -> torch.Tensor:
    return (torch.rand(5, *shape) < 0.5).to(dtype)


RECIPES = [
    {"likelihood": likelihood, "posterior": posterior, "network": network, "scale": scale}
    for likelihood in ("bernoulli", "continuous_bernoulli", "gaussian")  # the others: test_laws, test_recipes
    for posterior in rp.recipes.POSTERIORS
    for network in rp.recipes.NETWORKS
    for scale in ((0.3, "shared", "elementwise", "predicted") if likelihood == "gaussian" else (1.0,))
]


class TestRoundTrip:
    @pytest.mark.parametrize("options", RECIPES, ids=lambda o: "-".join(map(str, o.values())))
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_recipes(self, tmp_path, options, dtype):
        vae = shaken(rp.recipes.vae((6, 7), 2, hidden=(5,), channels=(3,), activation="silu", **options)).to(dtype)
        rp.save(vae, tmp_path / "run")
        random = torch.get_rng_state()
        back = rp.load(tmp_path / "run")
        assert torch.equal(torch.get_rng_state(), random)
        assert not back.training
        assert same(vae, back, data(6, 7, dtype=dtype))
        assert describe(back) == describe(vae)

    def test_standardised_data_and_odd_shapes(self, tmp_path):
        x = torch.randn(5, 2, 3, 2) * 7 + 3
        vae = shaken(
            rp.recipes.vae(
                (2, 3, 2), 3, likelihood="gaussian", hidden=(), scale="predicted", loc=x.mean(0), spread=x.std(0)
            )
        )
        rp.save(vae, tmp_path)
        assert same(vae, rp.load(tmp_path), x)

    def test_numbers_that_are_hard_to_write(self, tmp_path):
        for scale in (0.1, 1e-5, 1 / 3, 12345678.9):
            vae = rp.recipes.vae(3, 2, likelihood="gaussian", hidden=(4,), scale=scale)
            rp.save(vae, tmp_path)
            assert rp.load(tmp_path).likelihood.scale == scale

    def test_a_tensor_of_scales(self, tmp_path):
        vae = rp.VAE(
            rp.priors.StandardNormal(2),
            rp.likelihoods.Gaussian(nn.Linear(2, 3), torch.tensor([0.1, 1.0, 3.0])),
            rp.posteriors.DiagonalGaussian(nn.Linear(3, 4)),
        )
        rp.save(vae, tmp_path)
        assert same(vae, rp.load(tmp_path), torch.randn(5, 3))

    def test_weights_of_several_types_keep_them(self, tmp_path):
        vae = rp.recipes.vae(3, 2, likelihood="gaussian", loc=torch.zeros(3), spread=torch.ones(3))
        vae.likelihood.loc = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
        rp.save(vae, tmp_path)
        back = rp.load(tmp_path)
        assert torch.equal(back.likelihood.loc, vae.likelihood.loc)
        assert back.likelihood.loc.dtype == torch.float64
        assert all(p.dtype == torch.float32 and p.requires_grad for p in back.parameters())

    def test_networks_of_torch(self, tmp_path):
        encoder = nn.Sequential(
            nn.Unflatten(-1, (1, 4, 4)),
            nn.Conv2d(1, 2, 3, padding=1, padding_mode="circular", bias=False),
            nn.GroupNorm(2, 2, affine=False), nn.ELU(0.7), nn.Conv2d(2, 2, (2, 1), stride=2, dilation=(1, 2)),
            nn.Flatten(), nn.LayerNorm(8, eps=1e-3, bias=False), nn.LeakyReLU(0.3), nn.Dropout(0.4),
            nn.Sequential(nn.Linear(8, 6), nn.LayerNorm(6, elementwise_affine=False), nn.GELU("tanh")),
            nn.Linear(6, 4, bias=False),
        )  # fmt: skip
        decoder = nn.Sequential(
            nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 8), nn.Softplus(2.0, 10.0), nn.Linear(8, 8), nn.Mish(),
            nn.Linear(8, 8), nn.SiLU(), nn.Linear(8, 8), nn.Sigmoid(), nn.Linear(8, 8), nn.Softsign(),
            nn.Unflatten(-1, (2, 2, 2)),
            nn.ConvTranspose2d(2, 1, 2, stride=2, dilation=1), nn.Flatten(-3), nn.Identity(), nn.ReLU(),
        )  # fmt: skip
        vae = shaken(
            rp.VAE(
                rp.priors.StandardNormal(2), rp.likelihoods.Bernoulli(decoder), rp.posteriors.DiagonalGaussian(encoder)
            )
        )
        rp.save(vae, tmp_path)
        assert same(vae, rp.load(tmp_path), data(16))
        assert describe(rp.load(tmp_path)) == describe(vae)

    def test_named_and_reordered_layers_keep_their_order(self, tmp_path):
        from collections import OrderedDict

        net = nn.Sequential(OrderedDict([("b", nn.Linear(2, 3)), ("act", nn.Tanh()), ("a", nn.Linear(3, 3))]))
        vae = small()
        vae.likelihood.net = net
        rp.save(vae, tmp_path)
        assert same(vae, rp.load(tmp_path), data(3))
        for layers in (nn.Sequential(nn.Tanh(), nn.ReLU()), net):
            spec = describe(layers)
            spec["layers"] = dict(reversed(spec["layers"].items()))
            assert [type(m) for m in rebuild(spec)] == [type(m) for m in layers]

    def test_configuration_schema_and_facts(self, tmp_path):
        schema = Schema((3,), "uint8", 255.0)
        rp.save(small(), tmp_path, config={"train": {"lr": 1e-3, "note": 'a "b"\n', "none": None}}, schema=schema)
        run = open_run(tmp_path)
        assert run.schema == schema
        assert run.config["train"] == {"lr": 1e-3, "note": 'a "b"\n'}
        assert run.config["model"]["type"] == "VAE"
        assert run.history == []
        assert json.loads((tmp_path / "environment.json").read_text())["torch"] == torch.__version__
        rp.save(small(), tmp_path)  # without a schema, that of the model before is not left to mislead
        assert open_run(tmp_path).schema is None

    def test_saved_again_over_itself(self, tmp_path):
        first, second = small(), rp.recipes.vae(4, 1, hidden=())
        rp.save(first, tmp_path)
        rp.save(second, tmp_path)
        assert same(second, rp.load(tmp_path), data(4))

    def test_a_place_that_is_no_folder_is_refused(self, tmp_path):
        (tmp_path / "file").write_text("")
        rejected(lambda: rp.save(small(), tmp_path / "file"), "file", "cannot write")
        rejected(lambda: rp.save(small(), tmp_path / "file" / "run"), "cannot write")


class Own(nn.Linear):
    """A class that no file can name."""


class TestInto:
    def own(self, hidden=nn.Tanh, seed=0):
        torch.manual_seed(seed)
        net = nn.Sequential(Own(3, 4), hidden(), nn.Linear(4, 4))
        return rp.VAE(
            rp.priors.StandardNormal(2), rp.likelihoods.Bernoulli(nn.Linear(2, 3)), rp.posteriors.DiagonalGaussian(net)
        )

    def test_an_unlisted_class_is_named_and_into_works(self, tmp_path):
        vae = shaken(self.own())
        rp.save(vae, tmp_path)
        rejected(lambda: rp.load(tmp_path), "test_run_folder.Own", "into=")
        other = self.own(seed=1)
        assert not same(vae, other, data(3))
        assert rp.load(tmp_path, into=other) is other
        assert same(vae, other, data(3))
        assert all(p.requires_grad for p in other.parameters())

    def test_another_model_is_refused_and_left_as_it_was(self, tmp_path):
        rp.save(self.own(), tmp_path)
        for other in (self.own(nn.ReLU, seed=1), small(), self.own(seed=1).double()):
            before = {n: t.clone() for n, t in other.state_dict().items()}
            rejected(lambda other=other: rp.load(tmp_path, into=other), "built otherwise")
            after = other.state_dict()
            assert all(torch.equal(before[n], after[n]) and before[n].dtype == after[n].dtype for n in before)

    def test_weights_of_another_shape_are_refused_and_none_is_replaced(self, tmp_path):
        class Sized(nn.Sequential):  # described by its name alone
            pass

        def model(width):
            net = Sized(nn.Linear(3, width), nn.Linear(width, 4))
            return rp.VAE(
                rp.priors.StandardNormal(2),
                rp.likelihoods.Bernoulli(nn.Linear(2, 3)),
                rp.posteriors.DiagonalGaussian(net),
            )

        rp.save(model(4), tmp_path)
        other = model(5)
        before = {n: t.clone() for n, t in other.state_dict().items()}
        rejected(lambda: rp.load(tmp_path, into=other), "posterior.net.0.bias", "(4,)", "(5,)")
        assert all(torch.equal(before[n], t) for n, t in other.state_dict().items())


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("saved") / "run"
    rp.save(small(), folder, schema=Schema((3,), "float32"))
    return folder


@pytest.fixture
def run(saved, tmp_path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "run"))


class TestDamage:
    def test_every_truncation_of_the_weights_is_refused(self, run):
        whole = (run / MODEL).read_bytes()
        for n in [*range(0, len(whole), 7), *range(0, 16), len(whole) - 1]:
            (run / MODEL).write_bytes(whole[:n])
            rejected(lambda: rp.load(run), MODEL, "cut short")
        (run / MODEL).write_bytes(whole + b"\0")
        rejected(lambda: rp.load(run), MODEL)

    def test_every_flipped_byte_of_the_weights_is_refused(self, run):
        whole = (run / MODEL).read_bytes()
        assert rp.load(run) is not None
        for at in range(len(whole)):
            altered = bytearray(whole)
            altered[at] ^= 1 << at % 8
            (run / MODEL).write_bytes(altered)
            rejected(lambda: read_tensors(run / MODEL), MODEL)

    @QUICK
    @given(at=st.integers(0, 10**6), value=st.integers(0, 255))
    def test_any_other_byte_is_refused(self, run, saved, at, value):
        whole = bytearray((saved / MODEL).read_bytes())
        if whole[at % len(whole)] == value:
            return
        whole[at % len(whole)] = value
        (run / MODEL).write_bytes(whole)
        rejected(lambda: rp.load(run), MODEL)

    @QUICK
    @given(st.binary(max_size=200), st.booleans())
    def test_foreign_bytes_are_refused(self, run, content, headed):
        (run / MODEL).write_bytes((len(content).to_bytes(8, "little") if headed else b"") + content)
        rejected(lambda: rp.load(run), MODEL, "not written by reparam")

    @pytest.mark.parametrize(
        "head",
        [
            "{}",
            "[]",
            "3",
            '{"__metadata__":3}',
            '{"__metadata__":{"digest":"0"}}',
            '{"__metadata__":{"reparam":"\\ud800"}}',
            "[" * 100_000,
            "\xff",
        ],
    )
    def test_heads_of_other_programs_are_refused(self, run, head):
        (run / MODEL).write_bytes(len(head).to_bytes(8, "little") + head.encode("latin1"))
        rejected(lambda: rp.load(run), MODEL, "not written by reparam")

    def test_a_foreign_file_of_tensors_is_refused(self, run):
        tensors = read_tensors(run / MODEL).tensors
        for metadata in (None, {"format": "pt"}):
            save_file(tensors, run / MODEL, metadata)
            rejected(lambda: rp.load(run), MODEL, "not written by reparam")

    def test_a_missing_file_is_named_with_what_to_do(self, run, tmp_path):
        rejected(lambda: rp.load(tmp_path / "absent"), "absent", "reparam train")
        rejected(lambda: rp.load(tmp_path), CONFIG)
        (run / MODEL).unlink()
        rejected(lambda: rp.load(run), MODEL, "reparam resume")
        (run / MODEL).mkdir()
        rejected(lambda: rp.load(run), MODEL, "cannot be read")
        (run / CONFIG).unlink()
        (run / CONFIG).mkdir()
        rejected(lambda: rp.load(run), CONFIG, "cannot be read")

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("hidden = [4]", "hidden = [5]"), ("hidden = [4]", "hidden = []"), ('"relu"', '"tanh"'),
            ("dim = 2", "dim = 3"), ("dim = 2", "dim = 2.0"), ("dim = 2", "dim = 1979-05-27"),
            ('"float32"', '"float64"'), ('"float32"', "3"),
            ("outputs = [4]\n", ""), ('type = "VAE"\n', ""), ('"networks.MLP"', '"os.system"'),
            ("[model.prior]", "[model.another]"),
        ],
    )  # fmt: skip
    def test_an_altered_description_is_refused(self, run, old, new):
        text = (run / CONFIG).read_text()
        assert old in text
        (run / CONFIG).write_text(text.replace(old, new, 1))
        rejected(lambda: rp.load(run), CONFIG, "altered")

    def test_a_deleted_description_is_refused(self, run):
        config = tomllib.loads((run / CONFIG).read_text())
        del config["model"]
        (run / CONFIG).write_text(dump_toml(config))
        rejected(lambda: rp.load(run), CONFIG, "does not describe a model")
        (run / CONFIG).write_text(dump_toml({**config, "model": "VAE"}))
        rejected(lambda: rp.load(run), CONFIG, "does not describe a model")

    @pytest.mark.parametrize(
        ("format", "word"), [(2, "update reparam"), (10**9, "update reparam"), (0, "no format"), ("1", "no format"),
                             (1.0, "no format"), (True, "no format"), (None, "no format")]
    )  # fmt: skip
    def test_another_format_is_refused(self, run, format, word):
        config = tomllib.loads((run / CONFIG).read_text())
        (run / CONFIG).write_text(dump_toml({**config, "format": format}))
        rejected(lambda: rp.load(run), word)

    @pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"format = ", b"\0" * 40, b"a = [" * 3000, b"hello"])
    def test_garbage_for_a_configuration_is_refused(self, run, content):
        (run / CONFIG).write_bytes(content)
        rejected(lambda: read_config(run), CONFIG)

    def test_a_configuration_cut_anywhere_is_refused(self, run):
        whole = (run / CONFIG).read_bytes().rstrip()
        for n in range(len(whole)):
            (run / CONFIG).write_bytes(whole[:n])
            rejected(lambda: rp.load(run), CONFIG)

    def test_a_damaged_or_altered_schema_is_refused(self, run):
        text = (run / SCHEMA).read_text()
        for damaged in (text[:-5], "", "null", text.replace("float32", "pickle")):
            (run / SCHEMA).write_text(damaged)
            rejected(lambda: rp.load(run), SCHEMA)
        (run / SCHEMA).write_bytes(b"\xff")
        rejected(lambda: rp.load(run), SCHEMA)
        (run / SCHEMA).write_text(Schema((3,), "float32", pixel_max=255.0).to_json())
        rejected(lambda: rp.load(run), SCHEMA, "altered")
        (run / SCHEMA).unlink()
        rejected(lambda: rp.load(run), SCHEMA, "removed")

    def test_weights_of_another_run_are_refused(self, run, tmp_path):
        rp.save(rp.recipes.vae(3, 2, hidden=(6,)), tmp_path / "other")
        shutil.copy(tmp_path / "other" / MODEL, run / MODEL)
        rejected(lambda: rp.load(run), "another model")

    def test_history(self, run):
        assert read_history(run) == []
        path = run / "history.jsonl"
        path.write_text('{"epoch": 1, "loss": NaN}\n{"epoch": 2}\n{"epo')
        assert [line["epoch"] for line in read_history(run)] == [1, 2]
        for text in ('{"epoch": 1\n{"epoch": 2}\n', "3\n", "null\n"):
            path.write_text(text)
            rejected(lambda: read_history(run), "history.jsonl")


def forge(folder: Path, model: dict) -> None:
    """A folder whose parts all agree, made by somebody who knows how."""
    config = tomllib.loads((folder / CONFIG).read_text())
    tensors, facts = read_tensors(folder / MODEL)
    (folder / CONFIG).write_text(dump_toml({**config, "model": model}))
    write_tensors(folder / MODEL, tensors, {**facts, "model": json.dumps(model, sort_keys=True)})


class TestMalice:
    @pytest.mark.parametrize(
        "name",
        [
            "torch.nn.os", "os.system", "torch.load", "torch.nn.Module", "builtins.eval", "unlisted:os.system",
            "eval", "subprocess.Popen", "__import__", "likelihoods.nn.Linear", "networks.mlp", "",
            "torch.nn.modules.linear.Linear",
        ],
    )  # fmt: skip
    def test_only_listed_classes_are_made(self, run, name):
        spec = tomllib.loads((run / CONFIG).read_text())["model"]
        for model in ({**spec, "type": name}, {**spec, "prior": {"type": name, "dim": 2, "command": "touch /tmp/x"}}):
            forge(run, model)
            rejected(lambda: rp.load(run), repr(name.removeprefix("unlisted:")), "cannot rebuild")

    def test_a_listed_class_in_the_wrong_place_is_refused(self, run):
        spec = tomllib.loads((run / CONFIG).read_text())["model"]
        linear = {"type": "torch.nn.Linear", "in_features": 2, "out_features": 2}
        for model, words in (
            ({"dtype": "float32", **linear}, ["Linear, not a VAE"]),
            ({**spec, "dtype": "load"}, ["dtype 'load'"]),
            ({**spec, "prior": linear}, ["do not fit", "prior"]),
            ({**spec, "prior": 3}, ["VAE is damaged"]),
            ({**spec, "prior": {"type": "priors.StandardNormal", "dim": -1}}, ["priors.StandardNormal is damaged"]),
            ({**spec, "prior": {"type": "priors.StandardNormal", "size": 2}}, ["priors.StandardNormal is damaged"]),
            ({**spec, "prior": {"type": "tensor", "shape": ["a"]}}, ["tensor is damaged"]),
            ({**spec, "prior": {"type": "tensor"}}, ["tensor is damaged"]),
            ({**spec, "prior": {"type": "torch.nn.Sequential", "layers": 3}}, ["Sequential is damaged"]),
            ({**spec, "prior": {"type": "torch.nn.Sequential"}}, ["Sequential is damaged"]),
            ({**spec, "prior": {"type": "torch.nn.Sequential", "layers": {"1": linear}}}, ["Sequential is damaged"]),
            (
                {
                    **spec,
                    "prior": {
                        "type": "torch.nn.Conv2d",
                        "in_channels": 1,
                        "out_channels": 1,
                        "kernel_size": 1,
                        "groups": 0,
                    },
                },
                ["Conv2d is damaged"],
            ),
        ):
            forge(run, model)
            rejected(lambda: rp.load(run), *words)

    def test_facts_of_another_form_are_refused(self, run):
        for facts in ("[1]", "3", "not json"):
            from reparam.run import files

            content = files.pack_tensors({"a": torch.ones(1)}, {"reparam": files._BLANK + facts})
            (run / MODEL).write_bytes(content.replace(files._mark(files._BLANK), files._mark(files._digest(content))))
            rejected(lambda: rp.load(run), MODEL)

    def test_names_that_imitate_the_checksum_do_no_harm(self, tmp_path):
        zeros = "0" * 64
        mark = f'"reparam":"{zeros}'
        facts = {"reparam": zeros, mark: mark}
        write_tensors(tmp_path / "t", {"reparam": torch.ones(2), mark: torch.zeros(1)}, facts)
        back = read_tensors(tmp_path / "t")
        assert back.facts == facts
        assert set(back.tensors) == {"reparam", mark}


class TestTensors:
    def test_equal_content_gives_equal_bytes(self, tmp_path):
        tensors = {f"{i}": torch.full((i + 1,), float(i)) for i in range(9)}
        for i in range(8):
            order = list(tensors) if i % 2 else list(reversed(tensors))
            write_tensors(
                tmp_path / f"{i}", {n: tensors[n] for n in order}, {"b": 1, "a": [2]} if i % 2 else {"a": [2], "b": 1}
            )
        assert len({(tmp_path / f"{i}").read_bytes() for i in range(8)}) == 1

    def test_every_type_and_shape_comes_back(self, tmp_path):
        tensors = {
            str(dtype): (torch.rand(shape) * 3).to(dtype)
            for dtype in (
                torch.float16,
                torch.bfloat16,
                torch.float32,
                torch.float64,
                torch.int64,
                torch.uint8,
                torch.bool,
            )
            for shape in [(2, 3)]
        } | {"scalar": torch.tensor(1.5), "none": torch.ones(0, 3), "view": torch.arange(12.0).reshape(3, 4).T[1:]}
        tensors["tied"] = tensors["view"]
        write_tensors(tmp_path / "t", tensors, {"a": [1, None, "é"]})
        back = read_tensors(tmp_path / "t")
        assert back.facts == {"a": [1, None, "é"]}
        assert back.tensors.keys() == tensors.keys()
        for name, tensor in tensors.items():
            assert back.tensors[name].dtype == tensor.dtype
            assert torch.equal(back.tensors[name], tensor)


class TestAtomicWrite:
    @pytest.mark.parametrize("fails", ["fsync", "replace"])
    @pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
    def test_a_failure_leaves_the_old_file_and_nothing_else(self, tmp_path, monkeypatch, fails, error):
        path = tmp_path / "file"
        atomic_write(path, "old")

        def fail(*_):
            raise error

        monkeypatch.setattr(os, fails, fail)
        with pytest.raises(type(error)):
            atomic_write(path, b"new" * 1000)
        assert path.read_text() == "old"
        assert list(tmp_path.iterdir()) == [path]

    def test_text_is_utf_8_with_its_own_line_ends(self, tmp_path):
        atomic_write(tmp_path / "é", "é\r\n\n")
        assert (tmp_path / "é").read_bytes() == "é\r\n\n".encode()

    def test_a_link_stays_and_its_target_is_replaced(self, tmp_path):
        target = tmp_path / "elsewhere" / "target"
        target.parent.mkdir()
        target.write_text("old")
        link = tmp_path / "link"
        link.symlink_to(target)
        atomic_write(link, "new")
        assert link.is_symlink()
        assert target.read_text() == "new"
        assert list(target.parent.iterdir()) == [target]

    @pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
    def test_permissions_follow_the_umask(self, tmp_path, mask):
        before = os.umask(mask)
        try:
            atomic_write(tmp_path / "file", "x")
            atomic_write(tmp_path / "file", "y")
        finally:
            os.umask(before)
        assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~mask

    def test_a_folder_that_is_missing_is_the_callers_error(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            atomic_write(tmp_path / "absent" / "file", "x")
