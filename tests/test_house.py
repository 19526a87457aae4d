"""The check of the house finds what it is for."""

from house import FILES, FUNCTION_LINES, LINES, too_much


def test_what_is_too_large_or_in_the_wrong_room_is_named(tmp_path):
    for folder in ("runtime", "crowded"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").write_text('"""A room."""\n')
    (tmp_path / "__init__.py").write_text("")
    for number in range(FILES):
        (tmp_path / "crowded" / f"f{number}.py").write_text("")
    (tmp_path / "runtime" / "long.py").write_text("x = 1\n" * (LINES + 1))
    (tmp_path / "runtime" / "function.py").write_text("def f():\n" + "    x = 1\n" * FUNCTION_LINES)
    (tmp_path / "runtime" / "rays.py").write_text(
        "def f():\n    from ray import tune\n    import ray.serve\n    import array\n"
    )
    assert [line.partition(";")[0] for line in too_much(tmp_path)] == [
        ".: an __init__.py with a docstring says what a folder is for",
        f"crowded: {FILES + 1} files",
        f"runtime/function.py:1: f has {FUNCTION_LINES + 1} lines",
        f"runtime/long.py: {LINES + 1} lines",
        "runtime/rays.py:2: imports Ray",
        "runtime/rays.py:3: imports Ray",
    ]
