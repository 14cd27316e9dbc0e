# SPDX-License-Identifier: Apache-2.0
import os
import pathlib
import shutil
import tempfile

import contract
import harness
import pytest


@pytest.fixture(scope="module")
def shared():
    """One server for the tests of a file."""
    server = harness.Server()
    yield server
    server.stop()


@pytest.fixture
def server(shared):
    """The file's server, which must be as it was before the test, but for what is kept warm."""
    yield shared
    shared.note_children()
    shared.assert_settled()


@pytest.fixture
def folder():
    """A folder that the server can use as well, whoever it runs as; gone after the test."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="test-kiln-folder-"))
    harness.own(path)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def start(folder):
    """Servers with settings of their own: start("--flag", …)."""
    servers = []

    def make(*flags, **more):
        servers.append(harness.Server(*flags, **more))
        return servers[-1]

    yield make
    for server in servers:
        server.stop()


def pytest_sessionfinish():
    """Which operations this process called, for contract.py to look at the whole."""
    if os.environ.get("KILN_CALLED"):
        contract.note_called(os.environ["KILN_CALLED"])
