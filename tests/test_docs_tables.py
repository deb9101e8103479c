"""The tables of the pages and cards are the measured ones: every row stands in the result file that its table names."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from page_tables import renewed
from pages import Page, Table, pages, rows_of
from places import ROOT

CARDS = [Page(path) for path in sorted((ROOT / "aecodec" / "zoo").glob("*.md"))]
PAGES = [*pages(), *CARDS]
TABLES = [(page, table) for page in PAGES for table in page.tables]
Rows = list[list[str]]

#: What the page calls a transformation of benchmarks/transformations.py.
CHANGES = {
    "resize-50": "half size",
    "resize-25": "quarter size",
    "stretch-125": "stretched by a quarter",
    "crop-80": "cropped to 80 % of the area",
    "crop-60": "cropped to 60 % of the area",
    "crop-60-sides": "cropped to 60 % of each side",
    "jpeg-50": "JPEG, quality 50",
    "jpeg-10": "JPEG, quality 10",
    "webp-20": "WebP, quality 20",
    "brighter": "brighter",
    "darker": "darker",
    "contrast-up": "more contrast",
    "contrast-down": "less contrast",
    "blur": "blurred",
    "rotate-3": "turned by 3 degrees",
    "rotate-5-cut": "turned by 5 degrees, corners cut off",
    "watermark": "watermark",
    "grey": "grey",
    "crop-80-jpeg-30-brighter": "cropped, brighter, JPEG 30",
    "aec-7": ".aec, quality 7",
    "crop-30": "cropped to 30 % of the area",
    "overlay": "another picture over a fifth",
    "border": "a border around it",
    "screenshot": "screenshot with bars",
    "collage": "half of a collage",
    "meme": "large letters above and below",
    "sepia": "sepia",
    "tinted": "strong colour filter",
    "hue-90": "hues turned by 90 degrees",
    "rotate-10": "turned by 10 degrees",
    "rotate-15": "turned by 15 degrees",
    "mirrored": "mirrored",
}
#: How many of them are usual; the others leave little of a picture, put it among other things, or change its colours.
USUAL = 20
#: What the page calls a labelled set, and which of its measures it shows.
LABELLED = {
    "mnist": ("MNIST", "mAP@all"),
    "fashion-mnist": ("Fashion-MNIST", "mAP@1000"),
    "cifar10": ("CIFAR-10", "mAP@1000"),
    "cifar10-lite0": ("CIFAR-10 on ImageNet features", "mAP@1000"),
}


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def near_duplicates(path: Path) -> Rows:
    """Recall at 1 within the threshold, of all queries together."""
    ours = ("photo-hash-64", "photo-hash-128", "photo-hash-256")
    methods, found = (*ours, "phash-64", "phash-256", "dhash-64", "pdq-256"), recalls_within(path)
    rows = recalls(found, methods)
    for label, changes in (("mean of the first 20", list(CHANGES)[:USUAL]), ("mean of all", list(CHANGES))):
        rows.append(
            [label, *(f"{sum(found[name, change] for change in changes) / len(changes):.4f}" for name in methods)]
        )
    return rows


def recalls_within(path: Path) -> dict[tuple[str, str], float]:
    """Method and transformation -> recall at 1 within the threshold, of all queries together."""
    return {
        (row["method"], row["transformation"]): float(row["recall_at_1_within"])
        for row in read_csv(path)
        if row["queries"] == "all"
    }


def recalls(found: dict[tuple[str, str], float], methods: tuple[str, ...]) -> Rows:
    """A row for each transformation that was measured."""
    measured = {change for _, change in found}
    return [
        [label, *(f"{found[name, change]:.3f}" for name in methods)]
        for change, label in CHANGES.items()
        if change in measured
    ]


def near_duplicates_windows(path: Path) -> Rows:
    """The same of the whole at its longest, and by windows at each length."""
    windows = tuple(f"photo-hash-{bits}-windows" for bits in (64, 128, 256))
    return recalls(recalls_within(path), ("photo-hash-256", *windows))


def semantic_hashing(path: Path) -> Rows:
    """One measure of each set, three lengths."""
    head, *rows = rows_of(path.read_text())
    found = [dict(zip(head, row, strict=True)) for row in rows]
    shown = [(row, *LABELLED[row["dataset"]]) for row in found]
    return [
        [f"{name}, {row['method']}", *(row[f"{measure} {bits}"] for bits in (16, 32, 64))]
        for row, name, measure in shown
    ]


def hamming(path: Path) -> Rows:
    """Each number of codes and queries: ours, and how many times the best of faiss."""
    cases: dict[tuple[str, str, str], dict[str, dict[str, str]]] = {}
    for row in read_csv(path):
        cases.setdefault((row["codes"], row["bits"], row["batch"]), {})[row["method"]] = row
    rows = []
    for (codes, bits, batch), methods in cases.items():
        speed = {name: float(row["queries_per_s"]) for name, row in methods.items()}
        best = max(value for name, value in speed.items() if name.startswith("faiss"))
        share = f"{float(methods['native']['share_of_bandwidth']):.0%}" if batch == "1" else ""
        times = [
            f"{speed[name] / best:.{digits}f}" for name, digits in (("native", 1), ("native, numba", 1), ("usearch", 2))
        ]
        rows.append([f"{int(codes) // 1_000_000}M x {bits}, {int(batch):,}", f"{speed['native']:,.0f}", share, *times])
    return rows


def hamming_cuda(path: Path) -> Rows:
    """Each number of codes and queries on the device: a query held against reading, a batch against products."""
    found = {(*(row[key] for key in ("codes", "bits", "batch")), row["method"]): row for row in read_csv(path)}
    rows = []
    for (codes, bits, batch, method), row in found.items():
        if method != "cuda":
            continue
        seconds, products = (float(found[codes, bits, batch, name]["seconds"]) for name in ("cuda", "tensor cores"))
        reading = f"{float(row['share_of_bandwidth']):.0%}" if batch == "1" else ""
        multiplying = "" if batch == "1" else f"{products / seconds:.0%}"
        label = f"{int(codes) // 1_000_000}M x {bits}, {int(batch):,}"
        speed = float(row["queries_per_s"])
        rows.append([label, f"{speed:,.0f}", f"{1e3 * seconds:.2f}", reading, multiplying])
    return rows


def large(path: Path) -> Rows:
    """Seconds and memory of each step."""

    def seconds(value: float) -> str:
        return next(f"{value:.{digits}f}" for digits, from_ in ((1, 5), (2, 0.1), (3, 0)) if value >= from_)

    return [[row["step"], seconds(float(row["seconds"])), f"{float(row['memory']):.2f}"] for row in read_csv(path)]


def anomaly_caltech(path: Path) -> Rows:
    """Pictures and figures of each class."""
    columns = ("class", "normal_train", "normal_test", "others")
    return [
        [
            *(row[name] for name in columns),
            *(f"{float(row[name]):.3f}" for name in ("auroc", "ap", "pca_auroc")),
            f"{float(row['caught_at_10_percent_false_alarms']):.0%}".replace("%", " %"),
        ]
        for row in read_csv(path)
    ]


#: Files whose figures the pages show in another form; every other file holds a table of the very rows.
FORMS: dict[str, Callable[[Path], Rows]] = {
    "benchmarks/results/autoencoders/anomaly-caltech.csv": anomaly_caltech,
    "benchmarks/results/hamming/cpu.csv": hamming,
    "benchmarks/results/hamming/cuda.csv": hamming_cuda,
    "benchmarks/results/hamming/large.csv": large,
    "benchmarks/results/hashing/near_duplicates.csv": near_duplicates,
    "benchmarks/results/hashing/near_duplicates_windows.csv": near_duplicates_windows,
    "benchmarks/results/hashing/semantic_hashing.md": semantic_hashing,
}


def measured(table: Table) -> Rows:
    """The rows that a table may hold."""
    path = ROOT / table.source
    return FORMS[table.source](path) if table.source in FORMS else rows_of(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("page", "table"), TABLES, ids=[f"{page.name}-{Path(table.source).name}" for page, table in TABLES]
)
def test_table_is_the_measured_one(page, table):
    known = measured(table)
    assert len(table.rows) > 1
    for row in table.rows[1:]:
        assert row in known, f"{page.name}: {row} is not in {table.source}"


def test_the_figures_that_matter_are_shown():
    shown = {(page.name, table.source) for page, table in TABLES}
    curves = {
        ("docs/benchmarks.md", f"benchmarks/results/{name}/bd_rate.md") for name in ("kodak", "mcmaster", "cid22")
    }
    assert {("README.md", "benchmarks/results/kodak/bd_rate.md"), *curves} <= shown
    assert set(FORMS) <= {source for _, source in shown}


def test_no_row_of_a_curve_is_left_out_where_it_hurts():
    """docs/benchmarks.md has every row; the README may leave out some in our favour."""
    for page, table in TABLES:
        if Path(table.source).name.startswith("bd_rate"):
            needed = [row for row in measured(table)[1:] if row[1].startswith("+") or page.name != "README.md"]
            assert not [row for row in needed if row not in table.rows], page.name


def test_every_curve_by_another_metric_is_shown_as_its_command_puts_it_there():
    page = next(page for page in PAGES if page.name == "docs/benchmarks.md")
    kept = {str(path.relative_to(ROOT)) for path in (ROOT / "benchmarks" / "results").glob("*/bd_rate*.md")}
    assert kept == {table.source for table in page.tables if Path(table.source).name.startswith("bd_rate")}
    assert renewed(page.text) == page.text


def test_a_table_is_renewed_with_the_rows_and_columns_of_its_file(tmp_path: Path):
    folder = tmp_path / "benchmarks" / "results" / "set"
    folder.mkdir(parents=True)
    (folder / "bd_rate_cvvdp.md").write_text("## BD-rate\n\n| against | a | b |\n|---|---|---|\n| x | 1 | 2 |\n")
    mark = "<!-- from benchmarks/results/set/bd_rate_cvvdp.md -->\n"
    page = f"Text.\n\n{mark}| against | a |\n|---|---|\n| x | 9 |\n| y | 8 |\n\nMore.\n"
    assert renewed(page, tmp_path) == f"Text.\n\n{mark}| against | a | b |\n|---|---|---|\n| x | 1 | 2 |\n\nMore.\n"
    assert renewed("| a |\n", tmp_path) == "| a |\n"


def test_the_readme_says_where_the_model_ends():
    """The highest PSNR of the model, as the curves give it, is what the text says."""
    readme = PAGES[0]
    table = next(table for table in readme.tables if table.source.endswith("kodak/bd_rate.md"))
    tops = [float(top) for row in table.rows[1:] for top in re.findall(r"to ([\d.]+) dB", row[1])]
    stated = re.search(r"the model ends at ([\d.]+) dB", readme.text)
    assert stated
    assert float(stated[1]) == max(tops)


def test_the_readme_says_what_a_metric_says_that_nobody_trained_on():
    """BD-rate of the last column, the default model's, against AVIF in its tune for eyes."""
    head, *rows = rows_of((ROOT / "benchmarks" / "results" / "kodak" / "bd_rate_cvvdp.md").read_text(encoding="utf-8"))
    stated = re.search(r"By ColorVideoVDP, on which neither was trained, `(.+?)` is at (\S+) %", PAGES[0].text)
    assert stated
    row = next(row for row in rows if row[0] == "avif-iq")
    assert row[head.index(f"aec-{stated[1]}")].startswith(f"{stated[2]} %")
