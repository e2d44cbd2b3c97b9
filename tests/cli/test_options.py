import pytest

from jaxsep.cli.options import named_models


def test_models_are_named_after_their_folders():
    texts = ["a/lstm", "b/lstm", "b/mlp/checkpoints/100", "x=c/d", "e/f=g", "./h/"]
    assert named_models(texts) == {
        "lstm": "a/lstm",
        "lstm-2": "b/lstm",
        "mlp-100": "b/mlp/checkpoints/100",
        "x": "c/d",
        "f=g": "e/f=g",
        "h": "./h/",
    }


@pytest.mark.parametrize("texts", [["a=x", "a=y"], ["=x"], ["..=x"]])
def test_names_that_no_folder_can_have_are_refused(texts):
    with pytest.raises(ValueError, match=r"named|can't name"):
        named_models(texts)
