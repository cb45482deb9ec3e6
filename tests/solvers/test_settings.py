import pytest

from sdlcore.solvers.settings import SolverConfig


def test_settings_go_to_json_and_back():
    config = SolverConfig(solver="acs", support=8)
    assert SolverConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"solver": "magic"},
            r"solver must be one of acs, ksvd, odl, kmeans, or of a plugin \(.*\), found 'magic'",
        ),
        ({"pair": "both"}, "pair must be one of"),
        ({"precision": "int8"}, "precision must be one of float32, bfloat16"),
        ({"support": 0}, "support must be at least 1"),
        ({"n_atoms": 4, "support": 8}, "support must be at most n_atoms = 4"),
        ({"support": 8, "max_support": 4}, "max_support must be at least support = 8"),
        ({"forgetting": 1.0}, "forgetting must be below 1"),
        ({"ridge": 0.0}, "ridge must be above 0"),
        ({"steps": 3}, "unknown settings of a solver: steps; expected some of solver"),
    ],
)
def test_a_wrong_setting_is_named(settings, message):
    with pytest.raises(ValueError, match=message):
        SolverConfig.from_dict(settings)
