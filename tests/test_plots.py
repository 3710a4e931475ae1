"""Figures say what they should, on light and dark pages; how they look was judged by eye."""

import itertools
import re
import subprocess
import sys
from functools import partial
from types import MappingProxyType, SimpleNamespace

import matplotlib.style
import numpy as np
import pytest
from matplotlib.cbook import is_math_text
from matplotlib.colors import to_rgb
from matplotlib.text import Text

from sbo_jax import plots
from sbo_jax.tasks.own.gaps import Gaps
from sbo_jax.training.objectives import ACCURACY, MSE, OBJECTIVES

STYLES = ("default", "dark_background")


def epoch_lines(epochs=3):
    names = ("train_loss", "validation_loss", "validation")
    return [{"epoch": epoch} | dict.fromkeys(names, 1 / epoch) for epoch in range(1, epochs + 1)]


def cell(eta, mu, seed=0, final=0.5, **changes):
    return {
        "eta": eta,
        "mu": mu,
        "seed": seed,
        "eta_L": eta * 2,
        "final": final,
        "best": final,
        "diverged": final is None,
        "curve": [] if final is None else epoch_lines(),
    } | changes


def grid(*etas, **changes):
    return [cell(eta, mu, seed, **changes) for eta in etas for mu in (0.0, 0.9) for seed in (0, 1)]


def seed_curve(*values):
    return {"steps": [10 * (i + 1) for i in range(len(values))], "validation": list(values)}


def points(number, seed=0, published=2):
    """Networks of both kinds, crowded in places, of names that a report may have."""
    rng = np.random.default_rng(seed)
    sizes = 10 ** rng.uniform(3, 3.3 + 1.5 * rng.integers(2, size=number + published))
    return [
        plots.Point(
            "n" * rng.integers(1, 40), int(size), list(rng.random(3)), i % 2 == 0, i >= number
        )
        for i, size in enumerate(sizes)
    ]


LEARNED = {
    "a": [
        {"steps": [5, 10], "learned": {"eta": [0.1, 0.2]}},
        {"steps": [5, 10], "learned": {"eta": [0.1, None]}},
    ],
    "b": [{"steps": [5], "learned": {"eta": [0.3], "mu": [0.9]}}],
}


class Run:
    """What figures ask of a trained run: of two layers, four features and numbers."""

    features, classes = ("a", "$b", "c$", "d_e^"), None
    scaler = SimpleNamespace(mean=np.zeros(4), std=np.ones(4))
    content = MappingProxyType({"model": {"length": 9}})
    answering = SimpleNamespace(per_step=False)
    reading = SimpleNamespace(gaps=Gaps(stated=(-9999,)))

    def hidden_states(self, sequence):
        return np.where(np.arange(9)[:, None] == 3, np.nan, np.sin(np.arange(54).reshape(9, 6)))

    def saliency(self, sequence, answer=None, *, step=None):
        return np.arange(36.0).reshape(9, 4)

    def time_scales(self):
        return np.ones((2, 6)) / 9, 9 * np.ones((2, 6))

    def predict(self, sequences):
        return np.ones(1)


FLOWS = {
    "a": [{"gradient_flow": {"steps": [0, 5, 10], "ratio": [2.0, 3.0, 5.0]}}],
    "b": [
        {"gradient_flow": {"steps": [0, 5, 10], "ratio": [None, 4e9, 1e8]}},
        {"gradient_flow": {"steps": [0, 5], "ratio": [1e12, None]}},
    ],
}
COUNTS = np.array([[30, 1, 0], [0, 0, 0], [2, 0, 1]])
SEQUENCE = np.ones((9, 4))


def figures():
    cells = [*grid(0.1, 1.0), *grid(10.0, final=None)]
    return [
        plots.learning_curves(epoch_lines(), ACCURACY, 2),
        plots.compare_learning_curves({"a": epoch_lines(), "b": epoch_lines(40)}, MSE),
        plots.eta_heat_map(cells, ACCURACY),
        plots.sweep_curves(cells, ACCURACY),
        plots.gradient_flow({"a": np.geomspace(1, 10, 50), "b": np.zeros(50)}),
        plots.spectrum({"a": np.exp(1j * np.arange(4)), "b": np.asarray([1.5 + 0j])}),
        plots.seed_curves({"a": [seed_curve(0.5, 0.25)], "b": [seed_curve(0.75)]}, MSE, "Title"),
        plots.learned_curves(LEARNED, "Title"),
        plots.flow_ratio_curves(FLOWS, "Title"),
        plots.results({"a": [0.5, 0.25], "b": [0.75]}, MSE, "Title"),
        plots.against_parameters(points(3), ACCURACY, "Title"),
        plots.against_fraction({"a": {0.1: [0.5, 0.4], 1.0: [0.9]}, "b": {0.1: [0.3]}}, MSE),
        plots.confusion(COUNTS, ["a", "$b", "c$"]),
        plots.predicted(np.eye(4), np.ones((4, 4)), ["a", "$b", "c$", "d_e^"]),
        plots.hidden_states(Run(), SEQUENCE),
        plots.saliency(Run(), SEQUENCE),
        plots.time_scales(Run()),
    ]


def test_a_number_that_stands_for_a_gap_is_no_height_of_a_curve():
    with_gap = SEQUENCE.copy()
    with_gap[3, 1] = -9999
    drawn = plots.saliency(Run(), with_gap).axes[0].lines[1].get_ydata()
    np.testing.assert_array_equal(np.isnan(drawn), np.arange(9) == 3)
    assert with_gap[3, 1] == -9999


def test_a_mark_of_gaps_is_found_in_the_type_of_the_data(monkeypatch):
    monkeypatch.setattr(Run, "reading", SimpleNamespace(gaps=Gaps(stated=(-99.9,))))
    with_gap = SEQUENCE.astype(np.float32)
    with_gap[3, 1] = -99.9
    drawn = plots.saliency(Run(), with_gap).axes[0].lines[1].get_ydata()
    np.testing.assert_array_equal(np.isnan(drawn), np.arange(9) == 3)


def texts(figure):
    found = [text.get_text() for axes in figure.axes for text in axes.texts]
    return [*found, *(t.get_text() for legend in figure.legends for t in legend.get_texts())]


@pytest.mark.parametrize("style", STYLES)
def test_text_stands_out_from_the_page(style, tmp_path):
    with matplotlib.style.context(style):
        for figure in figures():
            figure.savefig(tmp_path / "figure.png")
            page = np.asarray(to_rgb(figure.get_facecolor()))
            for axes in figure.axes:
                labels = [axes.xaxis.label, axes.yaxis.label, *axes.get_xticklabels()]
                for label in labels:
                    assert np.abs(to_rgb(label.get_color()) - page).max() > 0.5


@pytest.mark.parametrize("style", STYLES)
def test_numbers_stand_out_from_their_cells(style):
    with matplotlib.style.context(style):
        for value in np.linspace(0, 1, 11):
            axes = plots.eta_heat_map([cell(0.1, 0.0, final=float(value))], ACCURACY).axes[0]
            image = axes.images[0]
            background = np.asarray(image.cmap(image.norm(value))[:3])
            number = to_rgb(axes.texts[0].get_color())
            assert np.abs(number - background).max() > 0.4


def test_every_axis_has_a_label():
    for figure in figures():
        for axes in figure.axes:
            assert axes.get_ylabel() or [label.get_text() for label in axes.get_yticklabels()]
            shares = axes.get_shared_x_axes().get_siblings(axes)
            below = [other.get_xlabel() for other in shares]
            assert any(below) or axes.get_label() == "<colorbar>"


def test_curves_differ_without_colour():
    figure = plots.gradient_flow({str(i): np.ones(20) * (i + 1) for i in range(12)})
    looks = [(line.get_linestyle(), line.get_marker()) for line in figure.axes[0].lines]
    assert len(set(looks)) == 12


def test_the_bound_stands_at_its_place_between_the_etas():
    cells = [cell(eta, 0.0, eta_L=eta / 0.1**0.5) for eta in (0.01, 0.1, 1.0)]
    axes = plots.eta_heat_map(cells, ACCURACY).axes[0]
    for line in axes.lines:
        np.testing.assert_allclose(line.get_xdata(), 1.5)
    assert "1/L = 0.32" in texts(axes.figure)


@pytest.mark.parametrize(("bound", "label"), [(1e3, "1/L = 1e+03 →"), (1e-3, "← 1/L = 0.001")])
def test_a_bound_beyond_the_etas_is_an_arrow(bound, label):
    cells = [cell(eta, 0.0, eta_L=eta / bound) for eta in (0.1, 1.0)]
    figure = plots.eta_heat_map(cells, ACCURACY)
    assert not figure.axes[0].lines
    assert label in texts(figure)


def test_an_energy_without_a_bound_has_a_heat_map_without_a_line():
    figure = plots.eta_heat_map([cell(0.1, 0.0, eta_L=None), cell(1.0, 0.0, eta_L=None)], ACCURACY)
    assert not figure.axes[0].lines


def test_diverged_cells_are_marked_and_leave_the_mean_alone():
    cells = [
        cell(0.1, 0.0, 0, final=0.25),
        cell(0.1, 0.0, 1, final=0.75),
        cell(1.0, 0.0, 0, final=0.4),
        cell(1.0, 0.0, 1, final=None),
        cell(9.0, 0.0, 0, final=None),
        cell(9.0, 0.0, 1, final=None),
    ]
    figure = plots.eta_heat_map(cells, ACCURACY)
    assert texts(figure)[:3] == ["0.5", "0.4\n1 of 2 div.", "div."]
    assert [patch.get_hatch() for patch in figure.axes[0].patches] == ["///"]


@pytest.mark.parametrize("metric", OBJECTIVES.values(), ids=OBJECTIVES)
def test_a_sweep_where_all_cells_diverged_can_be_drawn(metric):
    cells = grid(1.0, 2.0, final=None)
    plots.eta_heat_map(cells, metric).draw_without_rendering()
    plots.sweep_curves(cells, metric).draw_without_rendering()


def test_a_mean_error_of_exactly_0_is_drawn_beside_others():
    for cells in (grid(0.1, final=0.0), grid(0.1, final=0.0) + grid(1.0, final=0.5)):
        figure = plots.eta_heat_map(cells, MSE)
        figure.draw_without_rendering()
        assert texts(figure)[0] == "0"


@pytest.mark.parametrize(("metric", "best"), [(ACCURACY, 0.9), (MSE, 0.1)])
def test_sweep_curves_show_the_best_cell_of_every_eta(metric, best):
    finals = {0.0: 0.1, 0.5: 0.9}
    cells = [cell(eta, mu, final=finals[mu]) for eta in (0.1, 1.0) for mu in finals]
    (mu,) = (mu for mu, final in finals.items() if final == best)
    expected = [f"η 0.1, μ {mu:g}, seed 0", f"η 1, μ {mu:g}, seed 0"]
    assert texts(plots.sweep_curves(cells, metric)) == expected


ROWS = [
    cell(eta, 0.0, row=row, final=final)
    for row, final in (("dense", 0.25), ("scalar", 0.5))
    for eta in (0.1, 1.0)
]


def test_rows_of_a_sweep_have_maps_of_one_scale_side_by_side_and_a_curve_each():
    *maps, bar = plots.eta_heat_map(ROWS, MSE).axes
    assert [axes.get_title() for axes in maps] == ["dense", "scalar"]
    assert len({(axes.images[0].norm.vmin, axes.images[0].norm.vmax) for axes in maps}) == 1
    assert bar.get_label() == "<colorbar>"
    assert maps[0].images[0].norm.vmax > 0.5
    names = [text.partition(":")[0] for text in texts(plots.sweep_curves(ROWS, MSE))]
    assert names == ["dense", "scalar"]


@pytest.mark.parametrize(("kind", "unit"), [("fixed", "no unit"), ("normalised", "units of 1/L")])
def test_the_axis_of_a_heat_map_has_the_unit_of_eta(kind, unit):
    changes = {} if kind == "fixed" else {"eta_kind": kind}
    assert unit in plots.eta_heat_map(grid(0.1, 0.5, **changes), MSE).axes[0].get_xlabel()


def test_the_page_of_a_sweep_loads_nothing_and_tells_the_numbers_of_every_cell():
    late = {"diverged_step": 27, "diverged_epoch": 3, "curve": epoch_lines(2), "best": 0.5}
    cells = [
        cell(0.1, 0.0, final=1 / 3, best_epoch=3),
        cell(0.1, 0.0, 1, final=None, **late),
        cell(7.0, 0.5, final=None, diverged_step=1, diverged_epoch=1),
    ]
    page = plots.sweep_page(cells, MSE, "Sweep: <b>")
    assert "<h1>Sweep: &lt;b&gt;</h1>" in page
    assert not re.search(r"<(script|link|img)[^>]*(src|href)=", page)
    figures = unescaped(page)
    for told in (
        "η 0.1, μ 0, η L 0.2 at the start",
        "seed 0: 0.33333; best validation 0.33333 at epoch 3",
        "seed 1: diverged at step 27, in epoch 3",
        "diverged at step 1, in epoch 1",
        "✕ 1 of 2",
    ):
        assert told in figures


def unescaped(text):
    return re.sub(r"\\u([0-9a-f]{4})", lambda found: chr(int(found[1], 16)), text)


def test_a_ratio_that_is_infinite_is_drawn_above_all_others():
    (axes,) = plots.flow_ratio_curves(FLOWS).axes
    even, first, second, limit = axes.lines
    top = limit.get_ydata()[0]
    assert top > 1e12
    assert list(even.get_ydata()) == [2, 3, 5]
    assert list(first.get_ydata()) == [top, 4e9, 1e8]
    assert list(second.get_ydata()) == [1e12, top]
    assert [text.get_text() for text in axes.texts] == ["infinite"]
    (finite,) = plots.flow_ratio_curves({"a": FLOWS["a"]}).axes
    assert len(finite.lines) == 1
    assert not finite.texts


def test_the_legend_of_a_gradient_flow_has_the_ratio_of_its_finite_norms():
    norms = {"a": np.asarray([1.0, 4.0, 2.0]), "b": np.asarray([0.0, np.inf, 3.0])}
    labels = texts(plots.gradient_flow({**norms, "c": np.zeros(3), "d": np.full(3, np.nan)}))
    assert labels == [
        "a: largest / smallest 4",
        "b: largest / smallest infinite: underflow",
        "c: largest / smallest infinite: underflow",
        "d: largest / smallest unknown",
    ]


def test_the_whole_spectrum_and_the_unit_circle_are_on_the_page():
    axes = plots.spectrum({"a": np.asarray([2j, -0.5 + 0j])}).axes[0]
    assert min(axes.get_ylim()[1], axes.get_xlim()[1]) > 2
    circle = axes.lines[0]
    np.testing.assert_allclose(np.hypot(circle.get_xdata(), circle.get_ydata()), 1)


@pytest.mark.parametrize(("metric", "scale"), [(ACCURACY, "linear"), (MSE, "log")])
def test_seed_curves_show_every_seed_and_their_mean_as_far_as_all_go(metric, scale):
    runs = {"a": [seed_curve(0.5, 0.25, 0.125), seed_curve(0.75, 0.5)], "b": [seed_curve(0.3)]}
    axes = plots.seed_curves(runs, metric).axes[0]
    assert (axes.get_xscale(), axes.get_yscale()) == ("linear", scale)
    drawn = [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines]
    assert drawn[:2] == [([10, 20, 30], [0.5, 0.25, 0.125]), ([10, 20], [0.75, 0.5])]
    assert drawn[2] == ([10, 20], [0.625, 0.375])
    assert drawn[3:] == [([10], [0.3])] * 2
    widths = [line.get_linewidth() for line in axes.lines]
    assert max(widths[0], widths[1], widths[3]) < min(widths[2], widths[4])
    colours = [line.get_color() for line in axes.lines]
    assert len(set(colours[:3])) == 1 == len(set(colours[3:]))
    assert colours[0] != colours[3]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["a: 2 seeds", "b: 1 seed"]


def test_a_number_that_is_not_known_leaves_a_gap():
    axes = plots.seed_curves({"a": [seed_curve(0.5, None, 0.25)]}, MSE).axes[0]
    for line in axes.lines:
        np.testing.assert_array_equal(line.get_ydata(), [0.5, np.nan, 0.25])


def test_every_learned_hyperparameter_has_axes_and_every_seed_a_line():
    figure = plots.learned_curves(LEARNED)
    eta, mu = figure.axes
    assert [axes.get_ylabel() for axes in (eta, mu)] == ["eta", "mu"]
    assert [axes.get_yscale() for axes in (eta, mu)] == ["log", "linear"]
    drawn = [[list(line.get_ydata()) for line in axes.lines] for axes in (eta, mu)]
    np.testing.assert_array_equal(drawn[0][:2], [[0.1, 0.2], [0.1, np.nan]])
    assert (drawn[0][2], drawn[1]) == ([0.3], [[0.9]])
    colours = [line.get_color() for line in eta.lines]
    assert colours[0] == colours[1] != colours[2] == mu.lines[0].get_color()
    assert [text.get_text() for text in mu.get_legend().get_texts()] == ["a", "b"]
    four = {"steps": [5], "learned": {key: [0.5] for key in ("eta", "mu", "shift", "scale")}}
    assert len(plots.learned_curves({"a": [four]}).axes) == 4


@pytest.mark.parametrize("title", ["Title", "HAR-2 with 1 % and 10 % of the samples " * 5])
@pytest.mark.parametrize("kind", ["results", "seed_curves", "learned_curves"])
def test_titles_and_long_names_stay_on_the_page_and_off_the_axes(kind, title):
    names = [f"SBO (heavy ball, dense), 10 %, upper_rate 0.00{i}" for i in range(9)]
    seeds = [seed_curve(0.5, 0.75) | {"learned": {"eta": [0.5, 0.75]}}]
    values = {"results": [0.5, 0.75], "seed_curves": seeds, "learned_curves": seeds}[kind]
    options = {} if kind == "learned_curves" else {"metric": ACCURACY}
    figure = getattr(plots, kind)(dict.fromkeys(names, values), title=title, **options)
    figure.draw_without_rendering()
    (above,) = figure.texts
    title_box, axes_box = above.get_window_extent(), figure.axes[0].get_window_extent()
    whole = figure.axes[0].get_tightbbox()
    for box in (title_box, whole):
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1
    assert title_box.y0 > whole.y1
    assert axes_box.width > figure.bbox.width / 2.5


ODD = ["$a", "_b", "_$c_$", "$d^2$", r"e\$f", "$g_{$"]


class OddRun(Run):
    features, scaler = ODD, SimpleNamespace(mean=np.zeros(6), std=np.ones(6))


def odd(kind, *arguments, of):
    return getattr(plots, kind)(dict.fromkeys(ODD, of), *arguments)


SEEDS = [seed_curve(0.5, 0.75) | LEARNED["a"][0] | FLOWS["a"][0]]
ODDLY_NAMED = {
    "compare_learning_curves": partial(odd, "compare_learning_curves", MSE, of=epoch_lines()),
    "gradient_flow": partial(odd, "gradient_flow", of=np.ones(5)),
    "spectrum": partial(odd, "spectrum", of=np.ones(5, complex)),
    "results": partial(odd, "results", MSE, "$5 or _$6_", of=[0.5]),
    "seed_curves": partial(odd, "seed_curves", MSE, "$5 or _$6_", of=SEEDS),
    "learned_curves": partial(odd, "learned_curves", "$5 or _$6_", of=SEEDS),
    "flow_ratio_curves": partial(odd, "flow_ratio_curves", "$5 or _$6_", of=SEEDS),
    "against_fraction": partial(odd, "against_fraction", MSE, "$5 or _$6_", of={1.0: [0.5]}),
    "against_parameters": lambda: plots.against_parameters(
        [plots.Point(name, 10 ** (i + 1), [0.5], True) for i, name in enumerate(ODD)],
        MSE,
        "$5 or _$6_",
    ),
    "eta_heat_map": lambda: plots.eta_heat_map([cell(1.0, 0.0, row=name) for name in ODD], MSE),
    "sweep_curves": lambda: plots.sweep_curves([cell(1.0, 0.0, row=name) for name in ODD], MSE),
    "confusion": lambda: plots.confusion(np.eye(6, dtype=int), ODD),
    "predicted": lambda: plots.predicted(np.eye(6), np.ones((6, 6)), ODD),
    "hidden_states": lambda: plots.hidden_states(OddRun(), np.ones((9, 6))),
}


@pytest.mark.parametrize("kind", ODDLY_NAMED)
def test_names_and_titles_are_drawn_as_they_are(kind):
    figure = ODDLY_NAMED[kind]()
    figure.draw_without_rendering()
    texts = [text.get_text() for text in figure.findobj(Text)]
    drawn = [text.replace(r"\$", "$") for text in texts if not is_math_text(text)]
    titles = ["$5 or _$6_"] if figure.get_suptitle() else []
    for name in [*ODD, *titles]:
        assert any(text.removeprefix("\u200b").startswith(name) for text in drawn)


def test_a_count_of_answers_stands_in_the_row_of_the_truth_and_the_column_of_the_answer():
    axes = plots.confusion(COUNTS, ["a", "b", "c"]).axes[0]
    written = {text.get_position()[::-1]: int(text.get_text()) for text in axes.texts}
    assert written == {place: count for place, count in np.ndenumerate(COUNTS) if count}
    np.testing.assert_allclose(
        axes.images[0].get_array()[[0, 2, 2], [0, 0, 2]], [30 / 31, 2 / 3, 1 / 3]
    )
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == [label.get_text() for label in axes.get_xticklabels()] == ["a", "b", "c"]


@pytest.mark.parametrize(("number", "length"), [(2, 60), (12, 1), (40, 20), (60, 3), (300, 9)])
def test_names_of_classes_do_not_cover_each_other_and_stay_on_the_page(number, length):
    names = [f"{k:0{length}}" for k in range(number)]
    figure = plots.confusion(np.eye(number, dtype=int), names)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    for labels, side in ((axes.get_yticklabels(), "y"), (axes.get_xticklabels(), "x")):
        boxes = [label.get_window_extent() for label in labels]
        ends = sorted((getattr(box, f"{side}0"), getattr(box, f"{side}1")) for box in boxes)
        assert all(end < start for (_, end), (start, _) in itertools.pairwise(ends))
        assert all(min(box.x0, box.y0) >= 0 for box in boxes)


def test_predicted_numbers_lie_on_the_line_where_they_are_right_and_all_are_drawn(rng):
    true = rng.normal(size=(50, 2))
    figure = plots.predicted(true, true, ["a", "b"])
    for axes, values in zip(figure.axes, true.T, strict=True):
        points, line = axes.lines
        np.testing.assert_array_equal(points.get_xydata(), np.stack([values, values], axis=1))
        np.testing.assert_array_equal(*line.get_xydata().T)
    many = rng.normal(size=(3000, 1))
    (hexagons,) = plots.predicted(many, -many, ["a"]).axes[0].collections
    assert hexagons.get_array().sum() == 3000


def test_of_many_outputs_those_are_shown_that_are_off_most_for_their_spread(rng):
    true = rng.normal(size=(99, 12))
    spreads, off = 10.0 ** np.arange(12), rng.permutation(12) + 1
    figure = plots.predicted(true * spreads, (true + off) * spreads, list(map(str, range(12))))
    shown = {int(axes.get_title()) for axes in figure.axes}
    assert shown == set(np.argsort(off)[3:].tolist())


def test_figures_are_none_of_pyplots():
    script = (
        "import sys, numpy as np; from sbo_jax import plots; plots.spectrum({'a': np.ones(2) + 0j})"
        "; print('matplotlib.pyplot' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.stdout == "False\n", result.stderr


def test_seed_curves_show_seconds_where_all_seeds_have_them():
    known, unknown = seed_curve(0.5, 0.25) | {"seconds": [0.5, 0.75]}, seed_curve(0.5, 0.25)
    later = seed_curve(0.75, 0.5, 0.25) | {"seconds": [1.5, 1.75, 2]}
    steps, seconds = plots.seed_curves({"a": [known, later]}, ACCURACY).axes
    for axes, when in ((steps, [10, 20]), (seconds, [1.0, 1.25])):
        *_, mean = axes.lines
        assert list(mean.get_xdata()) == when
        assert list(mean.get_ydata()) == [0.625, 0.375]
    assert len(plots.seed_curves({"a": [known], "b": [unknown]}, ACCURACY).axes) == 1


@pytest.mark.parametrize("metric", [ACCURACY, MSE])
def test_names_of_points_cover_neither_each_other_nor_a_point(rng, metric):
    drawn = points(16, seed=rng.integers(2**31))
    figure = plots.against_parameters(drawn, metric)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    assert sorted(t.get_text().replace("\n", "") for t in axes.texts) == sorted(
        p.name for p in drawn
    )
    boxes = [Text.get_window_extent(text) for text in axes.texts]
    assert all(not a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    for point in drawn:
        x, y = axes.transData.transform((point.parameters, np.mean(point.values)))
        assert not any(box.contains(x, y) for box in boxes)
    for box in boxes:
        assert axes.bbox.contains(*box.p0)
        assert axes.bbox.contains(*box.p1)


def test_points_of_one_network_are_at_their_fractions_and_means():
    runs = {"a": {1.0: [0.5, 0.75], 0.01: [0.25]}, "b": {0.01: [0.125]}}
    (axes,) = plots.against_fraction(runs, ACCURACY).axes
    drawn = [container.lines[0].get_xydata() for container in axes.containers]
    np.testing.assert_allclose(drawn[0], [[0.01, 0.25], [1, 0.625]], rtol=0.02)
    np.testing.assert_allclose(drawn[1], [[0.01, 0.125]], rtol=0.02)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1 %", "100 %"]
