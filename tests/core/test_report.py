import xml.etree.ElementTree as ElementTree

from robolearn.intervals import wilson
from robolearn.report import Section, bars, curves, paragraph, provenance, table, write_page


def test_a_page_holds_everything_and_escapes_what_it_is_given(tmp_path):
    evil = '<script>alert("x")</script>'
    sections = [
        Section(evil, paragraph(evil) + table(("a", evil), [(1, evil)]) + bars({evil: wilson(3, 4)})),
        Section("facts", provenance({evil: evil})),
    ]
    page = write_page(tmp_path / "report.html", evil, evil, sections).read_text()
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 8
    assert "http://" not in page.replace("http://www.w3.org/", "")
    assert "https://" not in page


def test_bars_show_value_and_interval_to_scale():
    svg = bars({"half": wilson(5, 10)})
    root = ElementTree.fromstring(svg[svg.index("<svg") : svg.index("</svg>") + 6])
    (bar,) = root.iter("rect")
    assert float(bar.attrib["width"]) == 250.0
    assert "50.0% of 10" in svg


def test_curves_are_self_contained_and_repeatable():
    series = {"training": ([1, 2, 3], [0.5, 0.2, 0.1]), "held out": ([1, 3], [0.6, 0.3])}
    svg = curves(series, x="step", y="loss", log=True)
    assert "<svg" in svg
    assert "held out" in svg
    assert svg == curves(series, x="step", y="loss", log=True)
