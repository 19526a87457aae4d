"""Which machines compute the same bytes."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from hydrahive.envs.gym.config import Gym
from hydrahive.runtime.config.arithmetic import arithmetic_digest, one_blas_thread
from hydrahive.runtime.config.machine_class import bytes_of, is_same_class, machine_class
from hydrahive.runtime.config.portable import PORTABLE_ENVIRONMENT
from hydrahive.runtime.config.run_config import LearnerConfig, RunConfig

SAY = """
import sys
from hydrahive.runtime.config.machine_class import machine_class
from hydrahive.runtime.config.run_config import RunConfig
portable = {"portable": True, "precision": "highest"} if "portable" in sys.argv else {}
print(machine_class(RunConfig(**portable)))
"""


def said(*words, **environment):
    env = {**os.environ, **environment}
    return subprocess.check_output([sys.executable, "-c", SAY, *words], env=env, text=True).strip()


def test_the_same_process_says_the_same_whatever_its_threads_and_precision_are_now():
    config = RunConfig(env=Gym("CartPole-v1"))
    first = machine_class(config)
    arithmetic_digest.cache_clear()
    torch.set_float32_matmul_precision("highest")
    assert machine_class(config) == first
    assert torch.get_float32_matmul_precision() == "highest"
    torch.set_float32_matmul_precision("medium")


def test_what_all_members_share_leaves_out_device_threads_and_precision():
    one = "x86/torch-2/threads-1-1/cpu/medium/arithmetic-a"
    assert bytes_of(one) == bytes_of("x86/torch-2/threads-1-1/h200/medium/arithmetic-a")
    assert bytes_of(one) != bytes_of("x86/torch-2/threads-1-1/cpu/medium/arithmetic-b")
    assert is_same_class("x86/torch-2/threads-1-1/cpu/medium", one)  # from before arithmetic was written down
    assert not is_same_class(one, one.replace("-a", "-b"))


def test_variables_that_choose_instructions_are_named_and_change_the_arithmetic():
    plain, kept_back = said(), said(MKL_CBWR="COMPATIBLE")
    assert "+MKL_CBWR=COMPATIBLE/" in kept_back
    assert kept_back.rpartition("/")[2] != plain.rpartition("/")[2]


def test_a_learner_of_several_threads_names_what_may_give_it_fewer(monkeypatch):
    monkeypatch.setenv("OMP_THREAD_LIMIT", "1")
    config = RunConfig()
    assert "OMP_THREAD_LIMIT" not in machine_class(config)
    assert "+OMP_THREAD_LIMIT=1/" in machine_class(replace(config, learner=LearnerConfig(threads=2)))


def test_the_portable_class_is_pinned_or_says_that_it_is_not():
    pinned = said("portable", **PORTABLE_ENVIRONMENT)
    assert pinned.startswith("x86_64-portable-avx2/")
    assert "+" in said("portable")
    assert said("portable", **PORTABLE_ENVIRONMENT, OMP_NUM_THREADS="2") == pinned


@pytest.mark.parametrize("threads", ["1", "2"])
def test_numpys_products_do_not_depend_on_threads_that_others_set(threads):
    code = "from hydrahive.runtime.config.arithmetic import *; print(arithmetic_digest('medium', numpy_products=True))"
    env = {**os.environ, "OMP_NUM_THREADS": threads}
    env.pop("OPENBLAS_NUM_THREADS", None)
    there = subprocess.check_output([sys.executable, "-c", code], env=env, text=True).strip()
    one_blas_thread()
    assert there == arithmetic_digest("medium", numpy_products=True)
