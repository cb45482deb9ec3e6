import pytest

from sdlcore.study.explain.protocols import (
    FULL,
    METHODS,
    QUARTER,
    Protocol,
    draw,
    from_samples,
    read_protocols,
    varied,
    write_protocols,
)
from tests.conftest import REPOSITORY


def test_a_list_is_read_as_it_was_written(tmp_path):
    drawn = draw(50, 3)
    write_protocols(tmp_path / "list.csv", drawn)
    assert read_protocols(tmp_path / "list.csv") == drawn


def test_draws_are_of_the_seed_and_differ():
    assert draw(20, 0) == draw(20, 0) != draw(20, 1)
    assert len(set(draw(100, 0))) == 100


def test_the_list_that_starts_from_samples_differs_in_nothing_else():
    kept = read_protocols(REPOSITORY / "config/explain/stage1c.csv")
    assert kept == from_samples(draw(120, 20261128))
    assert {protocol.initialisation for protocol in kept} == {"samples"}


def test_the_list_that_is_kept_is_the_one_that_was_drawn():
    assert read_protocols(REPOSITORY / "config/explain/stage1.csv") == draw(320, 20261127)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("anchored", [False, True])
def test_every_protocol_trains_every_method(method, anchored):
    for protocol in draw(100, 5):
        for scale in (QUARTER, FULL):
            config = protocol.config(method, scale, anchored)
            assert config.model.n_q == scale.n_q
            assert config.model.k == (protocol.k // scale.divisor if config.model.selects else None)
            assert config.loss.lambda_anchor == (protocol.lambda_anchor if anchored else 0)
            assert config.model.tied == (protocol.tied and method != "transcoder")


def test_a_training_sees_no_more_samples_than_is_written():
    assert all(p.steps * p.batch_size <= 500_000 and p.steps % 40 == 0 for p in draw(300, 1))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (("lr", "-1"), "protocol 1: lr"),
        (("tied", "maybe"), "protocol 1: expected True or False, found 'maybe'"),
        (("schedule", "cosine"), "protocol 1: schedule must be one of constant, warmup, linear"),
        (("steps", "many"), "protocol 1: invalid literal"),
    ],
)
def test_a_list_with_a_wrong_value_is_refused_by_its_row(tmp_path, changed, message):
    path = tmp_path / "list.csv"
    write_protocols(path, [Protocol(), Protocol(lr=0.5)])
    header, first, second = path.read_text().splitlines()
    cells = dict(zip(header.split(","), second.split(","), strict=True)) | dict([changed])
    path.write_text("\n".join([header, first, ",".join(cells.values())]))
    with pytest.raises(ValueError, match=message) as error:
        read_protocols(path)
    assert str(path) in str(error.value)


def test_a_list_with_other_columns_is_refused(tmp_path):
    (tmp_path / "list.csv").write_text("tied,lr\nTrue,0.1\n")
    with pytest.raises(ValueError, match="expected the settings of protocols"):
        read_protocols(tmp_path / "list.csv")


def test_tables_vary_one_parameter_each():
    protocol = Protocol()
    assert varied(protocol, FULL, "table1", float("nan")) == (protocol, FULL)
    hundred = FULL._replace(n_anchors=100)
    assert varied(protocol, FULL, "table4", 1400) == (protocol, hundred._replace(n=1400))
    assert varied(protocol, FULL, "table5", 0.2) == (protocol, hundred._replace(max_interference=0.2))
    assert varied(protocol, FULL, "table6", 0.1) == (protocol, hundred._replace(sparsity=0.9))
    assert varied(protocol, FULL, "table7", 128) == (protocol.changed(k=128), hundred)
    assert varied(protocol, QUARTER, "table4", 800)[1].n == 200
    with pytest.raises(ValueError, match="table2 is no table of the bench"):
        varied(protocol, FULL, "table2", 1)
