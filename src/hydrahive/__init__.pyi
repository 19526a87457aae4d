from hydrahive.algorithms.base.learning import Algorithm as Algorithm
from hydrahive.algorithms.config import PPO as PPO
from hydrahive.algorithms.config import VTrace as VTrace
from hydrahive.algorithms.control_config import DDPG as DDPG
from hydrahive.algorithms.control_config import SAC as SAC
from hydrahive.algorithms.control_config import TD3 as TD3
from hydrahive.algorithms.control_config import TQC as TQC
from hydrahive.algorithms.q_config import DQN as DQN
from hydrahive.algorithms.q_config import AthQ as AthQ
from hydrahive.algorithms.q_config import Rainbow as Rainbow
from hydrahive.api.calls import load_policy as load_policy
from hydrahive.api.calls import train as train
from hydrahive.api.environments import make_env as make_env
from hydrahive.api.policy import Policy as Policy
from hydrahive.api.run import Run as Run
from hydrahive.api.sweeping import sweep as sweep
from hydrahive.core.config import AlgorithmConfig as AlgorithmConfig
from hydrahive.core.config import CoreConfig as CoreConfig
from hydrahive.core.config import EncoderConfig as EncoderConfig
from hydrahive.core.config import EnvConfig as EnvConfig
from hydrahive.core.config import ReplayConfig as ReplayConfig
from hydrahive.core.errors import ConfigError as ConfigError
from hydrahive.core.errors import HydrahiveError as HydrahiveError
from hydrahive.core.errors import UsageError as UsageError
from hydrahive.envs.atari.config import Atari as Atari
from hydrahive.envs.gym.config import Gym as Gym
from hydrahive.envs.gym.pooled import EnvPool as EnvPool
from hydrahive.envs.pettingzoo.config import PettingZoo as PettingZoo
from hydrahive.envs.snake.config import Snake as Snake
from hydrahive.envs.swarm.config import Swarm as Swarm
from hydrahive.envs.vector import SnapshotVectorEnv as SnapshotVectorEnv
from hydrahive.policies.agent import Agent as Agent
from hydrahive.replay.config import Hindsight as Hindsight
from hydrahive.replay.config import Rows as Rows
from hydrahive.runtime.config.run_config import RunConfig as RunConfig

__version__: str
__all__: list[str]
