"""What the HTML report says, and that it says it when something was not measured."""

from __future__ import annotations

import dataclasses
import itertools
import re

import pytest
from page_examples import CLASS_NAMES, bare, flips, full, layers
from read_page import Page

from edgekit.report.html import html_page, shown_flips
from edgekit.results import (
    Check,
    ClassChange,
    Comparison,
    Diagnosis,
    Finding,
    Flip,
    LatencySamples,
    LayerError,
    NoiseFloor,
    Verdict,
)
from edgekit.spec import Interval

JPEG = b"\xff\xd8\xff\xe0 the bytes of a picture"
HOSTILE = "<script>alert('x')</script><img src=x onerror=alert(1)>\"'&"


def page(comparison: Comparison) -> Page:
    return Page(html_page(comparison, {}))


def changed(**parts: object) -> Page:
    return page(dataclasses.replace(full(), **parts))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def whole() -> Page:
    return page(full())


@pytest.fixture(scope="module")
def least() -> Page:
    return page(bare())


def test_the_verdict_comes_first_with_its_reason(whole: Page) -> None:
    assert whole.words("verdict").startswith("Fail model.int8.onnx against model.fp32.onnx top-1 accuracy fell by 1.20")
    assert "2 of 4 checks of the gate pass; drop of accuracy: fail; agreement: inconclusive" in whole.words("verdict")
    assert [element.tag for element in whole.elements].index("h1") < [e.tag for e in whole.elements].index("table")


def test_without_a_gate_the_limit_decides_the_verdict() -> None:
    passed = changed(gate=None, verdict=Verdict(True, "top-1 accuracy fell by 0.10 points, within the 0.5 allowed"))
    assert passed.words("verdict").startswith("Pass")
    assert changed(gate=None).words("verdict").startswith("Fail")


def test_without_a_limit_nothing_is_said_to_pass(least: Page) -> None:
    assert least.words("verdict") == "Compared b.onnx against a.onnx no limit was given"
    assert "Pass" not in least.words()


def test_the_table_has_every_number_with_its_interval(whole: Page) -> None:
    words = whole.words("numbers")
    for row in (
        "size 9.03 MB 2.45 MB 3.68x smaller",
        "top-1 93.10 % 91.90 % -1.20 points [-2.14, -0.26]",
        "top-5 99.80 % 99.70 % -0.10 points [-0.49, +0.24]",
        "calibration error 2.31 % 3.04 % +0.73 points",
        "agreement 97.40 % [96.22, 98.22]",
        "KL, mean 0.021 nats [0.017, 0.027]",
        "KL, worst 1.2 nats (cat/0004.png)",
        "SQNR 21.7 dB [21.2, 22.1]",
        "p50 a frame 7.02 ms 2.81 ms 2.50x faster",
        "speed-up 2.50x [2.48, 2.52]",
        "noise floor 0.978x to 1.023x",
    ):
        assert row in words


def test_the_tests_of_significance_are_put_into_words(whole: Page) -> None:
    words = whole.words("numbers")
    assert (
        "right on 6 images, the baseline alone on 18: more than chance would give (McNemar's exact test, p = 0.023)"
        in (words)
    )
    assert "A drop of 0.5 points or more is not ruled out (non-inferiority, p = 0.938)" in words
    assert "So many images show a true drop of 1.4 points or more with 80 % power" in words


def test_a_speedup_within_the_noise_is_no_difference() -> None:
    noisy = changed(noise=NoiseFloor(Interval(1.0, 0.9, 1.1), 0.3, 3.0))
    (tile,) = [item for item in noisy.all("li") if item.text.startswith("Time a frame")]
    assert "no difference" in tile.text
    assert "is within the machine's noise, 0.30 to 3.00" in tile.text


def test_a_slower_and_larger_candidate_is_called_so() -> None:
    comparison = full()
    assert comparison.latency is not None
    slower = page(
        dataclasses.replace(
            comparison,
            latency=dataclasses.replace(comparison.latency, speedup=Interval(0.5, 0.49, 0.51)),
            candidate=dataclasses.replace(comparison.candidate, size_bytes=18_068_224),
        )
    )
    assert "2.00x slower" in slower.words()
    assert "2.00x larger" in slower.words()


def test_the_checks_of_the_gate_stand_with_limit_and_reason(whole: Page) -> None:
    words = whole.words("gate")
    assert "drop of accuracy Fail 1.20 points [0.26, 2.14] at most 0.50 points the drop is above the limit" in words
    assert "size Pass 2.45 MB at most 3.00 MB" in words


def test_a_check_that_the_page_does_not_know_is_shown_by_its_name() -> None:
    gate = full().gate
    assert gate is not None
    check = Check("max_energy", "pass", 30.0, "millijoule", 20.0, 20.0, 20.0, "it is below")
    words = changed(gate=dataclasses.replace(gate, checks=(check,))).words("gate")
    assert "max_energy Pass 20.00 millijoule limit 30.00 millijoule" in words


def test_every_chart_has_a_name_and_a_description_and_is_there_once(whole: Page) -> None:
    pictures = [element for element in whole.all("svg") if "aria-hidden" not in element.attributes]
    assert len(pictures) == 4
    for picture in pictures:
        assert picture.attributes["role"] == "img"
        assert whole.words(picture.attributes["aria-labelledby"])
        assert whole.words(picture.attributes["aria-describedby"])


def test_ids_are_unique_and_links_of_the_page_lead_somewhere(whole: Page, least: Page) -> None:
    for content in (whole, least):
        ids = [element.attributes["id"] for element in content.elements if "id" in element.attributes]
        assert len(ids) == len(set(ids))
        assert {link.attributes["href"].removeprefix("#") for link in content.all("a")} <= set(ids)


def test_headings_go_down_one_level_at_a_time(whole: Page, least: Page) -> None:
    for content in (whole, least):
        levels = [int(element.tag[1]) for element in content.elements if re.fullmatch("h[1-6]", element.tag)]
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_layers_with_a_finding_are_marked(whole: Page) -> None:
    rows = [row for row in whole.all("tr") if "finding" in row.text]
    assert [" ".join(row.text.split()) for row in rows] == [
        "/features/features.2/conv/conv.1/Conv Conv finding 9.8 9.8 0.0071"
    ]


def test_of_many_layers_those_that_add_most_are_shown_in_the_order_they_run(whole: Page) -> None:
    names = [code.text for code in whole.all("code") if code.text.startswith("/features/") or "Gemm" in code.text]
    shown = names[1:]  # The first is that of the finding.
    worst = sorted(layers(), key=lambda layer: layer.own_sqnr_db)[:30]
    assert shown == [layer.layer for layer in layers() if layer in worst]
    assert "30 are shown; 23 more layers are in the JSON" in whole.words("layers")


def test_identical_layers_are_called_so() -> None:
    same = Diagnosis(0.0, 8, (LayerError("a", "Conv", 150.0, 150.0, None),), ())
    assert "identical" in changed(diagnosis=same).words("layers")


def test_findings_stand_with_evidence_fix_and_share(whole: Page) -> None:
    words = whole.words("findings")
    assert "One channel is far larger than the others" in words
    assert "Fix: edgekit export --effort balanced scales the channel down (rung equalize)" in words
    assert "outlier-channel – 67 % of the mean KL goes away with this layer in float" in words
    assert "preprocessing-mismatch – its share of the loss was not measured" in words


def test_a_diagnosis_that_found_nothing_says_so() -> None:
    words = changed(diagnosis=Diagnosis(0.0, 8, (), ())).words()
    assert "None of the known causes was found." in words
    assert "no layer of the one was found in the other" in words


def test_the_images_that_moved_most_are_shown_with_both_answers() -> None:
    comparison = full()
    first, *_, last = shown_flips(comparison.detail)
    content = Page(html_page(comparison, {first.index: JPEG}))
    (picture,) = content.all("img")
    assert picture.attributes["src"].startswith("data:image/jpeg;base64,/9j/")
    assert picture.attributes["alt"] == "cat/0004.png, a picture of class cat"
    assert "cat → dog lost label: cat" in content.words("flips")
    assert last.image in content.words("flips")
    assert flips()[-1].image not in content.words("flips")
    assert "26 of 1,000 images; the 24 whose probabilities moved most are shown" in content.words("flips")


def test_an_image_without_a_picture_is_shown_in_words(whole: Page) -> None:
    assert whole.all("img") == []
    assert whole.words("flips").count("no picture") == 24


def test_flips_are_counted_from_answer_to_answer(whole: Page) -> None:
    rows = [" ".join(row.text.split()) for row in whole.all("tr")]
    assert "cat dog 7 5 2" in rows
    assert "airplane ship 2 1 1" in rows


def test_without_class_names_classes_go_by_their_number() -> None:
    words = changed(class_names=None).words("flips")
    assert "class 3 → class 5" in words
    assert "label: class 3" in words


def test_without_labels_a_flip_is_neither_lost_nor_gained() -> None:
    comparison = full()
    unlabelled = tuple(dataclasses.replace(flip, label=None) for flip in flips())
    detail = dataclasses.replace(comparison.detail, flips=unlabelled, significance=None)
    words = changed(detail=detail).words("flips")
    assert "label:" not in words
    assert "cat dog 7 - -" in words


def test_classes_that_really_changed_come_first_and_are_marked(whole: Page) -> None:
    rows = [" ".join(row.text.split()) for row in whole.all("tr")]
    assert "cat 100 87.00 78.00 -9.00 0.039 changed" in rows
    assert sum(row.endswith("changed") for row in rows) == 1


def test_of_a_thousand_classes_the_largest_changes_are_shown() -> None:
    classes = tuple(ClassChange(index, f"class-{index}", 10, 90.0, 90.0, 1.0, False) for index in range(1000))
    fallen = dataclasses.replace(classes[700], candidate_top1=10.0, p_value=0.0001, changed=True)
    detail = dataclasses.replace(full().detail, classes=(*classes[:700], fallen, *classes[701:]))
    words = changed(detail=detail).words("classes")
    assert "class-700 10 90.00 10.00 -80.00 < 0.001 changed" in words
    assert "20 are shown; 980 more classes" in words


def test_what_was_not_measured_is_said_in_its_place(least: Page) -> None:
    for part, why in {
        "numbers": "Not measured: the images have no labels, so only agreement and KL can be told.",
        "trade-off": "Not measured: the models were not timed, so there is no chart of accuracy against time.",
        "latency": "Not measured: the models were not timed.",
        "findings": "Not measured: where a loss comes from was not asked for.",
        "layers": "Not measured: where a loss comes from was not asked for.",
        "flips": "None: both give the same answer on all 40 images.",
        "classes": "Not measured: the images have no labels.",
    }.items():
        assert why in least.words(part)
    assert "identical logits" in least.words("numbers")
    assert least.words("environment").count("not told by the system") == 5
    assert "gate" not in {element.attributes.get("id") for element in least.elements}


def test_times_without_their_frames_are_said_to_be_percentiles_alone() -> None:
    assert "the times of the single frames were not kept" in changed(samples=None, noise=None).words("latency")
    assert "the machine's noise was not measured" in changed(samples=None, noise=None).words()


def test_many_frames_do_not_swell_the_page() -> None:
    times = tuple(5.0 + (index % 100) / 100 for index in range(50_000))
    source = html_page(dataclasses.replace(full(), samples=LatencySamples(times, times)), {})
    assert len(source) < len(html_page(full(), {})) + 60_000
    assert "1,000 of 50,000 frames, evenly spread" in source


def test_equal_frames_and_one_frame_alone_can_be_drawn() -> None:
    for times in ((2.0,) * 50, (2.0,)):
        assert "the medians, 2.00 ms and 2.00 ms" in changed(samples=LatencySamples(times, times)).words("latency")


def test_how_to_reproduce_stands_with_the_command_and_the_hashes(whole: Page) -> None:
    words = whole.words("reproduce")
    assert full().command in words
    for digest in (full().baseline.sha256, full().candidate.sha256, full().images_sha256):
        assert digest in words
    assert full().notes[0] in words


def test_models_of_the_same_name_are_told_apart_by_their_folders() -> None:
    comparison = full()
    other = dataclasses.replace(comparison.candidate, name="other/model.fp32.onnx")
    assert "other/model.fp32.onnx against out/model.fp32.onnx" in changed(candidate=other).words("verdict")


def hostile() -> Comparison:
    """Return a comparison whose every text tries to become part of the page."""
    comparison = full()
    return dataclasses.replace(
        comparison,
        command=HOSTILE,
        images=HOSTILE,
        class_names=(HOSTILE,) * len(CLASS_NAMES),
        baseline=dataclasses.replace(comparison.baseline, name=f"a{HOSTILE}"),
        candidate=dataclasses.replace(comparison.candidate, name=f"b{HOSTILE}"),
        detail=dataclasses.replace(
            comparison.detail,
            worst_kl_image=HOSTILE,
            flips=(Flip(HOSTILE, 0, 1, 1, 2, 1.0),),
            classes=(ClassChange(0, HOSTILE, 1, 100.0, 0.0, 1.0, False),),
        ),
        diagnosis=Diagnosis(
            0.1,
            1,
            (LayerError(HOSTILE, HOSTILE, 20.0, 20.0, 0.1),),
            (Finding("bias-shift", HOSTILE, HOSTILE, HOSTILE, 1.0),),
        ),
        machine=dataclasses.replace(comparison.machine, cpu=HOSTILE, versions={HOSTILE: HOSTILE}),
        verdict=Verdict(False, HOSTILE),
        notes=(HOSTILE,),
    )


def test_text_of_strangers_stays_text() -> None:
    content = Page(html_page(hostile(), {0: JPEG}))
    assert content.all("script") == []
    (picture,) = content.all("img")
    assert set(picture.attributes) == {"src", "alt", "width", "height"}
    assert not any(name.startswith("on") for element in content.elements for name in element.attributes)
    assert HOSTILE in content.all("body")[0].text
    assert HOSTILE in picture.attributes["alt"]


def test_control_characters_and_broken_file_names_are_shown_as_question_marks() -> None:
    command = "edgekit\x1b[2J \u202etxt.\udcff"
    source = html_page(dataclasses.replace(full(), command=command), {})
    assert "edgekit?[2J ?txt.?" in source
    assert source.encode()


def test_the_page_asks_for_nothing_from_outside_and_allows_it_neither(whole: Page) -> None:
    (policy,) = [meta for meta in whole.all("meta") if meta.attributes.get("http-equiv") == "Content-Security-Policy"]
    assert policy.attributes["content"].startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy.attributes["content"]
    assert whole.all("script") == whole.all("link") == []
    assert not any("style" in element.attributes for element in whole.elements)
    assert "://" not in html_page(full(), {})


def test_the_same_comparison_gives_the_same_bytes() -> None:
    assert html_page(full(), {}) == html_page(full(), {})
