"""Options: one name wherever they are written, a condition at the field, choices that exist."""

import json

import pytest

import sbo_jax as sbo
from sbo_jax._checks import literals
from sbo_jax.runs.build import lower_level, rollout
from sbo_jax.runs.config import TrainConfig, check, registry
from sbo_jax.runs.config.command_line import parse
from sbo_jax.runs.config.sweep import SweepConfig
from sbo_jax.runs.folder.description import FORMAT, check_same_run

# What else an option needs to have an effect.
BESIDE = {"eta_kind": {"eta": 0.1}, "mu_kind": {"mu": 0.1}}
TABLES = {
    "preset": registry.PRESETS,
    "solver": registry.SOLVERS,
    "operator": registry.OPERATORS,
    "activation": registry.ACTIVATIONS,
    "energy": registry.ENERGIES,
    "eta_kind": registry.ETA_KINDS,
    "mu_kind": registry.MU_KINDS,
}


def test_an_option_has_one_name_on_the_command_line_in_a_file_and_in_python(rng):
    options = {
        "task": "adding",
        "length": int(rng.integers(5, 99)),
        "hidden": int(rng.integers(1, 99)),
        "solver": "sgd",
        "eta": float(rng.uniform()),
        "learn_hyper": "eta,shift",
        "batch_size": int(rng.integers(1, 99)),
        "seed": int(rng.integers(99)),
    }
    config = TrainConfig.of(**options)
    words = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    assert parse(TrainConfig, words) == config
    written = json.loads(json.dumps(config.flat(), default=str))
    assert TrainConfig.of(**written) == config
    assert options.items() <= (config.flat() | {"learn_hyper": "eta,shift"}).items()


def test_a_part_holds_no_name_of_another():
    for config in (TrainConfig, SweepConfig):
        names = [name for name, _ in vars(config()).items()]
        parts = [vars(value) for value in vars(config()).values() if hasattr(value, "__dict__")]
        assert sum(map(len, parts)) + len(names) - len(parts) == len(config.options())


@pytest.mark.parametrize("option", TABLES)
def test_every_choice_is_in_its_table_and_can_be_built(option):
    assert literals(TrainConfig.options()[option].hint) == tuple(TABLES[option])
    for name in TABLES[option]:
        config = TrainConfig.of(**{option: name}, **BESIDE.get(option, {}))
        check(config)
        assert isinstance(lower_level(config), sbo.LowerLevel)


def test_every_rollout_can_be_built():
    for name in literals(TrainConfig.options()["rollout"].hint):
        assert callable(rollout(TrainConfig.of(rollout=name).lower))


@pytest.mark.parametrize("energy", registry.ENERGIES)
def test_an_energy_alone_has_the_activation_of_its_class(energy):
    assert lower_level(TrainConfig.of(energy=energy)).problem == registry.ENERGIES[energy]()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"hiden": 3}, r"expected an option among .*, got 'hiden'; did you mean hidden\?"),
        ({"solver": "nestrov"}, r"expected solver among .*got 'nestrov'; did you mean nesterov\?"),
        ({"learn_hyper": ["eta", "mo"]}, r"expected learn_hyper among .*, got 'mo'"),
        ({"preset": "paper", "mu": 0.5}, "--mu has no effect with --preset paper; remove it"),
        ({"model": "lem", "eta": 0.5}, "--eta has no effect with --model lem; remove it"),
        ({"eta_kind": "learned"}, "--eta-kind has no effect without --eta; give both or neither"),
        (
            {"energy": "transition", "rollout": "streamed"},
            "--energy has no effect with --rollout streamed, whose energy is an average over the "
            "steps; remove it",
        ),
        ({"seed": -1}, r"expected 0 <= seed < 2\*\*31, got -1; try 0"),
    ],
)
def test_a_wrong_option_is_refused_in_a_sentence_that_every_caller_understands(options, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        check(TrainConfig.of(**options))


@pytest.mark.parametrize("number", [None, FORMAT + 1])
def test_a_run_folder_of_another_format_is_refused(tmp_path, number):
    content = {"config": {"task": "digits"}, "model": {}, "task": {}}
    content |= {"format": number} if number else {}
    (tmp_path / "config.json").write_text(json.dumps(content))
    sentence = f"run folder of format {FORMAT}, got {number}"
    with pytest.raises(ValueError, match=sentence):
        sbo.load(tmp_path)
    with pytest.raises(ValueError, match=sentence):
        check_same_run(tmp_path, content | {"format": FORMAT})


@pytest.mark.parametrize("kind", ["config", "sweep"])
@pytest.mark.parametrize("part", ["options", "model", "task", "task option"])
def test_a_configuration_that_lacks_an_entry_is_refused_by_its_name(tmp_path, kind, part):
    whole = {"format": FORMAT, kind: {"task": "digits"}, "model": {}, "task": {}}
    damaged, missing = dict(whole), {"options": "config", "task option": f"{kind}.task"}
    if part == "task option":
        damaged[kind] = {}
    else:
        del damaged[kind if part == "options" else part]
    (tmp_path / "config.json").write_text(json.dumps(damaged))
    with pytest.raises(ValueError, match=r"complete config\.json") as refused:
        check_same_run(tmp_path, whole)
    assert f"KeyError('{missing.get(part, part)}')); put config.json back" in str(refused.value)


@pytest.mark.parametrize(("kind", "config"), [("config", TrainConfig()), ("sweep", SweepConfig())])
def test_an_option_that_an_earlier_version_did_not_have_was_at_its_default(tmp_path, kind, config):
    here = {"format": FORMAT, kind: config.flat(), "model": {}, "task": {}}
    options = config.flat()
    del options["jitter"]
    (tmp_path / "config.json").write_text(json.dumps(here | {kind: options}, default=str))
    check_same_run(tmp_path, here)
    with pytest.raises(ValueError, match=r"jitter is 0\.0 there and 0\.5 here;"):
        check_same_run(tmp_path, here | {kind: config.changed(jitter=0.5).flat()})


@pytest.mark.parametrize("task", ["digits", "adding", "har2"])
def test_a_penalty_may_grow_on_any_task(task):
    check(TrainConfig.of(task=task, training="penalty", penalty_growth=2.0))
