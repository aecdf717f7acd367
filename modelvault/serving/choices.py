"""What a configuration is for, and what it is written as."""

from enum import StrEnum


class Server(StrEnum):
    """A program that serves a model; ``--for``."""

    VLLM = "vllm"
    OLLAMA = "ollama"
    LLAMACPP = "llamacpp"
    SGLANG = "sglang"

    @property
    def full_name(self) -> str:
        """The name that its makers give it."""
        return _FULL_NAMES[self]


class Form(StrEnum):
    """What a configuration is written as; ``--as``."""

    SYSTEMD = "systemd"
    COMPOSE = "compose"
    KUBERNETES = "kubernetes"
    NGINX = "nginx"


_FULL_NAMES = {
    Server.VLLM: "vLLM",
    Server.OLLAMA: "Ollama",
    Server.LLAMACPP: "llama.cpp",
    Server.SGLANG: "SGLang",
}
