"""The page of mistakes: names of classes and texts of other people stay what they are."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from news_cls.training.task import mistakes_text


def test_classes_and_texts_are_no_markdown() -> None:
    texts = ["```\n![x](http://host/x.png)", "right"]
    split = SimpleNamespace(labels=np.array([0, 1]), texts=texts, names=["a.csv: row 1", "b"])
    classes = ("<script>alert(1)</script>", "![y](http://host/y.png)")
    page = mistakes_text(split, np.array([[0.1, 0.9], [0.2, 0.8]]), classes)  # type: ignore[arg-type]
    heading, _, *block = page.rstrip("\n").split("\n")
    assert heading == (
        r"!\[y\](http://host/y.png) 90%, is \<script\>alert(1)\</script\> (a.csv: row 1)"
    )
    assert block == ["    ```", "    ![x](http://host/x.png)"]
