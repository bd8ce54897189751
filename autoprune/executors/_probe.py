"""Asks a Ray cluster whether it lets strangers in. Knows Ray's client; a process of its own, as that complains aloud.

python _probe.py HOST:PORT   ->   {"strangers": true, "us": true}
"""

import json
import os
import sys
from typing import Any, Final

_TIMEOUT_S: Final = 5
_TOKENS: Final = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


def enters(address: str) -> bool | None:
    """Whether the head answers under the environment as it is; None where it does not answer at all."""
    import ray

    raylet: Any = ray._raylet
    raylet.Config.initialize("")
    raylet.AuthenticationTokenLoader.instance().reset_cache()
    try:
        raylet.GcsClient(address=address).internal_kv_keys(b"autoprune", None, _TIMEOUT_S)
    except ray.exceptions.AuthenticationError:
        return False
    except Exception:  # whatever else: it cannot be told
        return None
    return True


def main(address: str) -> None:
    import ray

    raylet: Any = ray._raylet
    loader = raylet.AuthenticationTokenLoader
    if "RAY_AUTH_MODE" not in os.environ and loader.instance().has_token(ignore_auth_mode=True):
        os.environ["RAY_AUTH_MODE"] = "token"
    us = enters(address)
    for name in _TOKENS:
        os.environ.pop(name, None)
    os.environ["RAY_AUTH_MODE"] = "disabled"
    print(json.dumps({"strangers": enters(address), "us": us}))


if __name__ == "__main__":
    main(sys.argv[1])
