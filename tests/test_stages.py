import subprocess
import sys

MAIN = """
import gc
import multiprocessing

import pipelines


def collects(answers):
    answers.put(gc.isenabled())


if __name__ == "__main__":
    spawn = multiprocessing.get_context("spawn")
    answers = spawn.Queue()
    process = spawn.Process(target=collects, args=(answers,))
    process.start()
    importing, child, running = gc.isenabled(), answers.get(timeout=60), []
    process.join()
    pipelines.stage(lambda: running.append(gc.isenabled()))
    print(importing, child, *running)
"""


def test_only_imports_go_without_a_garbage_collector_and_not_in_a_device_s_own_process(request, tmp_path):
    script = tmp_path / "main.py"
    script.write_text(MAIN, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, script],
        env={"PYTHONPATH": str(request.config.rootpath)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.split() == ["False", "True", "True"]
