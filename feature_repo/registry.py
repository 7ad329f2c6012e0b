"""Feast's file registry, in the home of the run."""

import uuid
from pathlib import Path

from feast.infra.registry.file import FileRegistryStore
from feast.protos.feast.core.Registry_pb2 import Registry as RegistryProto
from feast.repo_config import RegistryConfig

from feature_repo.atomic import replacing
from feature_repo.home import home, registry_path


class HomeRegistryStore(FileRegistryStore):
    """The stock file store at ``<home>/feast/registry.db``, written atomically.

    ``feature_store.yaml`` cannot say "this variable, else that folder"; so the class does.
    """

    def __init__(self, registry_config: RegistryConfig, repo_path: Path):
        super().__init__(registry_config, repo_path)
        if not registry_config.path:
            self._filepath = registry_path(home())

    def _write_registry(self, registry_proto: RegistryProto) -> None:
        # The stock store truncates the file in place: a reader could find half of it.
        registry_proto.version_id = str(uuid.uuid4())
        registry_proto.last_updated.GetCurrentTime()
        with replacing(self._filepath) as fresh:
            fresh.write_bytes(registry_proto.SerializeToString())
