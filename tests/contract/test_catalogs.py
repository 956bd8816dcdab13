"""The fake catalog and the real Apache Atlas keep one contract."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from contract.catalog import DONE, CatalogBench, CatalogContract
from contract.catalog_server import serving

from airflow_provider_atlan_meta.clients.atlas_config import AtlasConfig
from airflow_provider_atlan_meta.config.connections import ATLAS, Connections
from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.stores import Landing
from airflow_provider_atlan_meta.sandbox.lifecycle import Sandbox
from airflow_provider_atlan_meta.testing.atlas_server import LOGIN, FakeAtlas


@pytest.fixture(scope="module")
def fake() -> FakeAtlas:
    return FakeAtlas()


@pytest.fixture(scope="module")
def fake_url(fake: FakeAtlas) -> Iterator[str]:
    with serving(fake) as url:
        yield url


def config_of(url: str, **extra: object) -> AtlasConfig:
    info = ConnectionInfo(conn_id="fake", host=url, login=LOGIN[0], password=LOGIN[1], extra=extra)
    return AtlasConfig.from_connection(info)


class TestFakeCatalog(CatalogContract):
    @pytest.fixture
    def bench(self, fake_url: str) -> Iterator[CatalogBench]:
        made = CatalogBench(config_of(fake_url))
        yield made
        made.sink.close()


class TestAnswersThatAreLost:
    """Over HTTP, as networks lose them."""

    @pytest.fixture
    def bench(self, fake_url: str, fake: FakeAtlas) -> Iterator[CatalogBench]:
        made = CatalogBench(config_of(fake_url, timeout=0.3))
        made.client.ensure_types()
        yield made
        fake.scripts.clear()
        made.sink.close()

    def test_an_effect_without_an_answer_is_unknown_and_the_same_again_is_done(
        self, bench: CatalogBench, fake: FakeAtlas
    ) -> None:
        row = bench.table()
        fake.script("cut", path="/entity/bulk")
        assert bench.write(row) == [Landing.UNKNOWN]
        assert bench.dataset() is not None
        assert bench.mutated(row) is False
        assert bench.write(row) == [DONE]

    def test_an_effect_after_the_caller_gave_up_is_seen_in_the_revision(
        self, bench: CatalogBench, fake: FakeAtlas
    ) -> None:
        bench.write(bench.table(revision=1))
        fake.script("delay", seconds=0.6, path="/entity/bulk")
        assert bench.write(bench.table(revision=2)) == [Landing.UNKNOWN]
        assert bench.write(bench.table(revision=3)) == [DONE]
        deadline = time.monotonic() + 10
        while bench.sink.read_revisions([bench.table().ref]) != {bench.table().ref: 2}:
            assert time.monotonic() < deadline

    def test_a_server_that_hangs_is_given_up_in_time(self, bench: CatalogBench, fake: FakeAtlas) -> None:
        fake.script("hang", seconds=1, path="/entity/bulk")
        started = time.monotonic()
        assert bench.write(bench.table()) == [Landing.UNKNOWN]
        assert time.monotonic() - started < 5


@pytest.fixture(scope="module")
def apache_atlas(sandbox: Sandbox) -> AtlasConfig:
    sandbox.up(["atlas"])
    return AtlasConfig.from_connection(Connections(environ=sandbox.environ()).get(ATLAS))


@pytest.mark.integration
class TestApacheAtlas(CatalogContract):
    @pytest.fixture
    def bench(self, apache_atlas: AtlasConfig) -> Iterator[CatalogBench]:
        made = CatalogBench(apache_atlas)
        yield made
        made.sink.close()
