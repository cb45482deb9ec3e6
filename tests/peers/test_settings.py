import pytest

from peers.settings import PeerConfig


def test_prefixes_make_batchtopk_a_matryoshka():
    config = PeerConfig.from_dict({"activation": "batchtopk", "k": 4, "n_q": 32, "prefixes": [8, 32]})
    assert config.method == "matryoshka"
    assert PeerConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"activation": "topk"}, "activation topk needs k"),
        ({"activation": "topk", "k": 9, "n_q": 8}, "k must be between 1 and n_q = 8, found 9"),
        ({"k": 4}, "k has no meaning for activation relu"),
        ({"activation": "topk", "k": 4, "l1": 0.1}, "l1 has no meaning for activation topk"),
        ({"l0": 0.1}, "l0 has no meaning for activation relu"),
        ({"activation": "topk", "k": 4, "prefixes": [8, 1024]}, "prefixes has no meaning for activation topk"),
        ({"activation": "batchtopk", "k": 4, "prefixes": [8, 4]}, "prefixes must ascend to n_q = 1024"),
        ({"activation": "jumprelu", "target_l0": 8.0}, "target_l0 has no meaning for peer saelens"),
    ],
)
def test_a_wrong_setting_is_named(settings, message):
    with pytest.raises(ValueError, match=message):
        PeerConfig.from_dict(settings)
