import pytest

from autoprune.errors import UsageError
from autoprune.search_spaces.pattern import Pattern


@pytest.mark.parametrize("text", ["unstructured", "2:4", "1:4", "4:8", "3:5", "4x4", "1x16"])
def test_a_pattern_reads_back_as_it_is_written(text):
    assert str(Pattern.parse(text)) == text


@pytest.mark.parametrize("text", ["", "4:4", "0:4", "5:4", "1x1", "2:4:8", "x", "-1:4", "2.5:4"])
def test_what_is_no_pattern_is_refused_with_examples(text):
    with pytest.raises(UsageError, match="N:M such as 2:4"):
        Pattern.parse(text)
