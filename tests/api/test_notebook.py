"""The first notebook, as a kernel runs it; and its stop button."""

import json
import os
import signal
import sys
import threading
import time

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from conftest import ROOT

FIRST = ROOT / "docs" / "notebooks" / "first-run.ipynb"


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """Runs a notebook in a folder of its own, with this Python."""
    kernels = tmp_path / "kernels" / "python3"
    kernels.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernels / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "here", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    monkeypatch.setenv("HYDRAHIVE_RUNS", str(tmp_path / "runs"))
    return lambda notebook: NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(tmp_path)}})


def test_the_first_notebook_trains_plots_plays_and_exports(kernel, tmp_path):
    notebook = nbformat.read(FIRST, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert sum(1 for cell in code for line in cell.source.splitlines() if line.strip()) <= 15
    kernel(notebook).execute()
    shown = [output for cell in code for output in cell.outputs]
    bars = [output.data["text/html"] for output in code[0].outputs if "text/html" in output.get("data", {})]
    assert any("<progress" in bar for bar in bars), "a bar, not lines"
    assert any("image/png" in output.get("data", {}) for output in shown), "the plot"
    assert int(code[2].outputs[-1].data["text/plain"]) > 50
    assert (tmp_path / "policy" / "policy.onnx").stat().st_size > 1_000


def test_the_stop_button_keeps_what_was_trained(kernel, tmp_path):
    train = 'import hydrahive\nhydrahive.train("cartpole/vtrace", name="long", workers=0, stop={"env_steps": 10**9})'
    look = 'run = hydrahive.Run("long")\n(run.finished, (run.path / "checkpoints").is_dir())'
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(train), nbformat.v4.new_code_cell(look)])
    client = kernel(notebook)
    metrics = tmp_path / "runs" / "long" / "metrics.jsonl"

    def press():
        while not (metrics.exists() and metrics.stat().st_size > 5_000):
            time.sleep(0.1)
        os.kill(client.km.provisioner.process.pid, signal.SIGINT)  # as the button does

    with client.setup_kernel():
        button = threading.Thread(target=press, daemon=True)
        button.start()
        with pytest.raises(CellExecutionError, match="run 'long' was stopped; the same call goes on with it"):
            client.execute_cell(notebook.cells[0], 0)
        client.execute_cell(notebook.cells[1], 1)
    assert notebook.cells[1].outputs[-1].data["text/plain"] == "(False, True)"
