"""Folders as Hugging Face's libraries keep models: config.json, model.safetensors and a model card."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from rgru._files.model_file import read_config, restore
from rgru._optional_imports import needed

if TYPE_CHECKING:
    from pathlib import Path

    from typing_extensions import Self

_REPOSITORY = re.compile(r"[\w.-]+(/[\w.-]+)?")
MODEL, CONFIG, CARD = "model.safetensors", "config.json", "README.md"


class Pretrained:
    """The methods `save_pretrained` and `from_pretrained` of models that have `save` and `_from_saved`."""

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write a folder as Hugging Face's libraries do: model.safetensors, config.json, README.md.

        The README is a model card with what the model's own file knows: its layers, and of an estimator its features,
        classes and the course of its training. An existing README stays as it is.

        Parameters
        ----------
        folder : path_like
            The folder, which is made if it does not exist. `huggingface_hub.upload_folder` uploads it as it is.

        Raises
        ------
        OSError
            If a file cannot be written.

        Examples
        --------
        >>> import os, tempfile
        >>> import rgru
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     rgru.GRU(3, 8).save_pretrained(folder)
        ...     print(sorted(os.listdir(folder)), rgru.GRU.from_pretrained(folder))
        ['README.md', 'config.json', 'model.safetensors'] GRU(3, 8)
        """
        import json
        from pathlib import Path

        from rgru._files.atomic_write import whole_file
        from rgru._files.model_card import card

        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        self.save(place / MODEL)  # type: ignore[attr-defined]
        kind, config = read_config(place / MODEL)
        with whole_file(place / CONFIG) as draft:
            draft.write_text(json.dumps(_described(kind, config), indent=2) + "\n", "utf-8")
        if not (place / CARD).exists():
            with whole_file(place / CARD) as draft:
                draft.write_text(card(place / MODEL), "utf-8")

    @classmethod
    def from_pretrained(
        cls, name: str | os.PathLike[str], *, revision: str | None = None, local_files_only: bool = False
    ) -> Self:
        """Read a model from a folder, or from a repository of the Hugging Face Hub.

        Parameters
        ----------
        name : path_like
            A folder that `save_pretrained` has written; or, if there is no such folder, the name of a repository,
            ``"user/model"``, which needs the package huggingface_hub.
        revision : str, optional
            The branch, tag or commit of the repository; by default its main branch.
        local_files_only : bool, default False
            Whether to use only what was downloaded before.

        Returns
        -------
        GRU, Model, GRUClassifier or GRURegressor
            The model, of the class that this is called on.

        Raises
        ------
        FileNotFoundError
            If there is no such folder, and `name` is no name of a repository; or there is no such repository.
        ImportError
            If there is no such folder, and huggingface_hub is not installed.
        ValueError
            If the model is of another class, its file is damaged, or config.json describes another model.
        """
        from pathlib import Path

        folder = Path(name)
        if not folder.is_dir():
            if not _REPOSITORY.fullmatch(os.fspath(name)):
                expected = "a folder, or the name of a repository such as 'user/model'"
                raise FileNotFoundError(f"name: expected {expected}, got {os.fspath(name)!r}")
            hub = needed("huggingface_hub", "hub")
            downloaded = hub.snapshot_download(
                os.fspath(name),
                revision=revision,
                local_files_only=local_files_only,
                allow_patterns=[MODEL, CONFIG],
            )
            folder = Path(downloaded)
        model: Self = restore(folder / MODEL, {cls.__name__: cls._from_saved})  # type: ignore[attr-defined]
        _check_config(folder)
        return model


def _described(kind: str, config: dict[str, Any]) -> dict[str, Any]:
    return {"model_type": "rgru", "architectures": [kind], "config": config}


def _check_config(folder: Path) -> None:
    """Refuse a config.json that describes another model than the file beside it."""
    import json

    path = folder / CONFIG
    if not path.exists():  # model.safetensors has all of it
        return
    try:
        found = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: expected JSON, got {error}") from error
    if found != _described(*read_config(folder / MODEL)):
        raise ValueError(f"{path}: expected the configuration in {MODEL}, got another; the file alone is read")
