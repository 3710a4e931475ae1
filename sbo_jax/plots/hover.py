"""A sweep as a page of HTML that shows the numbers under the pointer; needs plotly, an extra."""

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .styles import Metric
from .swept import by_row, eta_label

Cell = dict[str, Any]

_ABREAST = 3
_BETWEEN = 110  # pixels between one map and the next below
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
_STYLE = "body { font-family: sans-serif; max-width: 1500px; margin: 1em auto; padding: 0 1em }"


def sweep_page(cells: Sequence[Cell], metric: Metric, title: str) -> str:
    """The whole page, which loads nothing: maps over eta and mu, then a curve for every cell.

    Args:
      cells: the lines of a sweep, see `runs.sweep`.
      metric: the objective that was trained.
      title: above all.

    Raises:
      ModuleNotFoundError: plotly is not installed.
    """
    measures = {"validation": f"validation {metric.label}", "train_loss": _loss_name(metric)}
    scales = {"validation": metric.scale, "train_loss": metric.loss_scale}
    better = {"validation": metric.higher_is_better, "train_loss": False}
    figures = [_maps(cells, n, measures[n], scales[n], better[n]) for n in measures]
    figures.append(_curves(cells, measures, scales))
    parts = [
        figure.to_html(full_html=False, include_plotlyjs=not i, config={"responsive": True})
        for i, figure in enumerate(figures)
    ]
    told = "Point at a place for its numbers; ✕ marks where a cell diverged."
    name = html.escape(title)
    head = f"<meta charset='utf-8'><title>{name}</title><style>{_STYLE}</style>"
    return f"<!doctype html><html><head>{head}</head><body><h1>{name}</h1><p>{told}</p>" + (
        "\n".join(parts) + "</body></html>\n"
    )


def _loss_name(metric: Metric) -> str:
    return f"training loss ({metric.loss_unit})"


def _maps(cells: Sequence[Cell], measure: str, label: str, scale: str, higher: bool) -> Any:
    """A map over eta and mu for every row, all with the same colours."""
    rows = by_row(cells)
    etas, mus = (sorted({cell[name] for cell in cells}) for name in ("eta", "mu"))
    figure = _grid(list(rows), 60 + 55 * len(mus))
    for index, row in enumerate(rows.values()):
        place = dict(zip(("row", "col"), np.add(divmod(index, _ABREAST), 1).tolist(), strict=True))
        groups = [[_at(row, eta, mu) for eta in etas] for mu in mus]
        _add_map(figure, place, groups, measure, label, scale)
        figure.update_xaxes(title_text=eta_label(cells), title_standoff=5, **place)
    for axes, values in ((figure.update_xaxes, etas), (figure.update_yaxes, mus)):
        ticks = [f"{value:g}" for value in values]
        axes(tickvals=list(range(len(values))), ticktext=ticks, showgrid=False, zeroline=False)
    figure.update_yaxes(title_text="momentum μ", col=1)
    bar = {"title": {"text": label, "side": "right"}} | _ticks(cells, measure, scale)
    colours = {"colorscale": "Cividis", "reversescale": not higher, "colorbar": bar}
    figure.update_layout(coloraxis=colours, title_text=f"{label}, last epoch, mean over seeds")
    return figure


def _grid(titles: Sequence[str], map_height: int) -> Any:
    """Empty axes for as many maps, so many pixels high; an only one has no title."""
    from plotly.subplots import make_subplots

    above = math.ceil(len(titles) / _ABREAST)
    inner = above * map_height + (above - 1) * _BETWEEN
    figure = make_subplots(
        above,
        min(len(titles), _ABREAST),
        subplot_titles=titles if len(titles) > 1 else None,
        vertical_spacing=_BETWEEN / inner if above > 1 else 0,
        horizontal_spacing=0.06,
        shared_yaxes=True,
    )
    margin = {"t": 80, "b": 60}
    height = inner + sum(margin.values())
    figure.update_layout(template="plotly_white", height=height, margin=margin)
    return figure


def _add_map(
    figure: Any,
    place: Mapping[str, int],
    groups: Sequence[Sequence[Sequence[Cell]]],
    measure: str,
    label: str,
    scale: str,
) -> None:
    """A colour and a number for every group of seeds."""
    import plotly.graph_objects as go

    map_ = go.Heatmap(
        z=[[_shade(_mean(group, measure), scale) for group in line] for line in groups],
        hovertext=[[_told(group, measure, label) for group in line] for line in groups],
        hoverinfo="text",
        hoverongaps=True,
        coloraxis="coloraxis",
        xgap=2,
        ygap=2,
    )
    figure.add_trace(map_, **place)
    paper = {"bgcolor": "rgba(255,255,255,0.7)", "showarrow": False}
    for y, line in enumerate(groups):
        for x, group in enumerate(line):
            figure.add_annotation(x=x, y=y, text=_written(group, measure), **paper, **place)


def _shade(mean: float, scale: str) -> float | None:
    """What a colour stands for; None leaves a gap."""
    if not math.isfinite(mean) or (scale == "log" and mean <= 0):
        return None
    return math.log10(mean) if scale == "log" else mean


def _at(row: Sequence[Cell], eta: float, mu: float) -> list[Cell]:
    return [cell for cell in row if (cell["eta"], cell["mu"]) == (eta, mu)]


def _last(cell: Cell, measure: str) -> float:
    """NaN for a cell that diverged."""
    return math.nan if cell["diverged"] or not cell["curve"] else cell["curve"][-1][measure]


def _mean(group: Sequence[Cell], measure: str) -> float:
    values = [_last(cell, measure) for cell in group if not math.isnan(_last(cell, measure))]
    return float(np.mean(values)) if values else math.nan


def _written(group: Sequence[Cell], measure: str) -> str:
    """What stands in a place of the map."""
    diverged, mean = sum(cell["diverged"] for cell in group), _mean(group, measure)
    if diverged == len(group):
        return "✕ div."
    return f"{mean:.3g}" + (f"<br>✕ {diverged} of {len(group)}" if diverged else "")


def _told(group: Sequence[Cell], measure: str, label: str) -> str:
    """What the pointer shows of a place of the map: the numbers of every seed."""
    if not group:
        return ""
    first = group[0]
    bound = "" if first["eta_L"] is None else f", η L {first['eta_L']:.3g} at the start"
    mean = _mean(group, measure)
    lines = [f"{_grid_name(first)}{bound}"]
    lines += [f"{label}, mean {mean:.5g}"] if math.isfinite(mean) else []
    for cell in group:
        ended = _diverged(cell) or (
            f"{_last(cell, measure):.5g}; best validation {cell['best']:.5g} at epoch "
            f"{cell['best_epoch']}"
        )
        lines.append(f"seed {cell['seed']}: {ended}")
    return "<br>".join([*([first["row"]] if "row" in first else []), *lines])


def _grid_name(cell: Cell) -> str:
    return f"η {cell['eta']:g}, μ {cell['mu']:g}"


def _diverged(cell: Cell) -> str:
    if not cell["diverged"]:
        return ""
    return f"diverged at step {cell['diverged_step']}, in epoch {cell['diverged_epoch']}"


def _ticks(cells: Sequence[Cell], measure: str, scale: str) -> dict[str, Any]:
    """Of a bar whose colours are logarithms, the numbers themselves."""
    values = [_last(cell, measure) for cell in cells]
    finite = [value for value in values if math.isfinite(value) and value > 0]
    if scale != "log" or not finite:
        return {}
    ticks = np.geomspace(min(finite), max(finite), 5)
    return {"tickvals": np.log10(ticks), "ticktext": [f"{tick:.2g}" for tick in ticks]}


def _curves(cells: Sequence[Cell], measures: Mapping[str, str], scales: Mapping[str, str]) -> Any:
    """Every cell's course, eta by colour and mu by dash; a cross where one diverged."""
    from plotly.colors import sample_colorscale
    from plotly.subplots import make_subplots

    etas, mus = (sorted({cell[name] for cell in cells}) for name in ("eta", "mu"))
    shades = sample_colorscale("Turbo", np.linspace(0.05, 0.95, len(etas)).tolist())
    figure = make_subplots(1, len(measures), horizontal_spacing=0.08)
    for column, (measure, label) in enumerate(measures.items(), 1):
        top = max((line[measure] for cell in cells for line in cell["curve"]), default=1.0)
        for number, cell in enumerate(cells):
            line = {"color": shades[etas.index(cell["eta"])], "width": 1.5}
            line["dash"] = _DASHES[mus.index(cell["mu"]) % len(_DASHES)]
            curve = _curve(cell, measure, label, top)
            curve.update(line=line, legendgroup=str(number), showlegend=column == 1)
            figure.add_trace(curve, row=1, col=column)
        figure.update_yaxes(title_text=label, type=scales[measure], row=1, col=column)
    figure.update_xaxes(title_text="epoch")
    figure.update_layout(template="plotly_white", height=620, hovermode="closest")
    figure.update_layout(title_text="every cell: click a name to hide it, twice for it alone")
    figure.update_layout(legend={"font": {"size": 10}})
    return figure


def _curve(cell: Cell, measure: str, label: str, top: float) -> Any:
    import plotly.graph_objects as go

    xs, ys = _course(cell, measure, top)
    marks = ["circle"] * len(cell["curve"]) + ["x"] * cell["diverged"]
    sizes = [3] * len(cell["curve"]) + [10] * cell["diverged"]
    return go.Scatter(
        x=xs,
        y=ys,
        name=_cell_name(cell),
        mode="lines+markers",
        marker={"symbol": marks, "size": sizes},
        hovertext=_course_told(cell, measure, label),
        hoverinfo="text",
    )


def _cell_name(cell: Cell) -> str:
    row = f"{cell['row']}: " if "row" in cell else ""
    end = " ✕" if cell["diverged"] else ""
    return f"{row}{_grid_name(cell)}, seed {cell['seed']}{end}"


def _course(cell: Cell, measure: str, top: float) -> tuple[list[int], list[float]]:
    """Epochs and values; a cell that diverged ends at the top, in the epoch where it did."""
    xs = [line["epoch"] for line in cell["curve"]]
    ys = [line[measure] for line in cell["curve"]]
    return ([*xs, cell["diverged_epoch"]], [*ys, top]) if cell["diverged"] else (xs, ys)


def _course_told(cell: Cell, measure: str, label: str) -> list[str]:
    name = _cell_name(cell)
    told = [
        f"{name}<br>epoch {line['epoch']}: {label} {line[measure]:.5g}" for line in cell["curve"]
    ]
    return [*told, f"{name}<br>{_diverged(cell)}"] if cell["diverged"] else told
