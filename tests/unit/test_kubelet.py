# SPDX-License-Identifier: Apache-2.0
"""Pod names, from the directories that the kubelet makes in /var/log."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oomkilld.host.kubelet import MAX_ENTRIES, PodDirectory, PodNames

ETCD_UID = b"3e61c214bc3ed9ff81e21474dd6cba17"
WEB_UID = b"5931aa75-4603-4e65-b552-7c71cf55cfb5"
WEB_ID = b"25a38b5b8d556d7983d975577f5ac75ebbcfb4b269e6deaa0a0440c1ffc969ca"
SIDECAR_ID = b"c74b0f5062f0bc726cae1e9369ad4a95deed6b298d247f0407475adb23fa3190"
ETCD_ID = b"d4a9f9195eaf7e4a729f24151101e1de61f1398677e7b82acfb936dff0b4ce55"
UNKNOWN = PodNames(None, None, None)
WEB = PodNames(b"shop", b"web-7d9f6c5b4-x2x9k", None)
LOGS = (
    b"coredns-668d6bf9bc-4nbvl_kube-system_coredns-" + b"0" * 64,
    b"etcd-node-1_kube-system_etcd-" + ETCD_ID,
    b"web-7d9f6c5b4-x2x9k_shop_log-shipper-" + SIDECAR_ID,
    b"web-7d9f6c5b4-x2x9k_shop_web-" + WEB_ID,
)
DIRECTORIES = (
    b"kube-system_coredns-668d6bf9bc-4nbvl_0d08203e-255a-11e9-8cd9-0007cb0b2cc8",
    b"kube-system_etcd-node-1_" + ETCD_UID,
    b"shop_web-7d9f6c5b4-x2x9k_" + WEB_UID,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for directory in DIRECTORIES:
        (tmp_path / "var/log/pods" / directory.decode()).mkdir(parents=True)
    containers = tmp_path / "var/log/containers"
    containers.mkdir()
    for log in LOGS:
        (containers / f"{log.decode()}.log").symlink_to("/var/log/pods/not/there/0.log")
    return tmp_path


@pytest.mark.parametrize(
    ("uid", "container_id", "expected"),
    [
        pytest.param(WEB_UID, WEB_ID, WEB._replace(container=b"web"), id="container"),
        pytest.param(WEB_UID, SIDECAR_ID, WEB._replace(container=b"log-shipper"), id="dash in the name"),
        pytest.param(WEB_UID, None, WEB, id="the pod itself"),
        pytest.param(WEB_UID, b"f" * 64, WEB, id="pause, or Docker inside the pod"),
        pytest.param(WEB_UID, ETCD_ID, WEB, id="a container of another pod is feigned"),
        pytest.param(ETCD_UID, ETCD_ID, PodNames(b"kube-system", b"etcd-node-1", b"etcd"), id="pod of a manifest file"),
        pytest.param(b"0" * 32, WEB_ID, UNKNOWN, id="pod that is not there"),
        pytest.param(WEB_UID[1:], None, UNKNOWN, id="part of a uid"),
        pytest.param(b"", b"", UNKNOWN, id="nothing"),
        pytest.param(b"/../\xff\0", b"\xff\0", UNKNOWN, id="no name of a file"),
    ],
)
def test_a_pod_is_named_after_its_directory(
    root: Path, uid: bytes, container_id: bytes | None, expected: PodNames
) -> None:
    assert PodDirectory(str(root)).names(uid, container_id) == expected


def test_without_kubelet_nothing_is_known(tmp_path: Path) -> None:
    assert PodDirectory(str(tmp_path)).names(WEB_UID, WEB_ID) == UNKNOWN


def test_without_container_logs_the_pod_is_known(root: Path) -> None:
    (root / "var/log/containers").rename(root / "away")
    assert PodDirectory(str(root)).names(WEB_UID, WEB_ID) == WEB


@pytest.mark.parametrize(("name", "expected"), [("pods", UNKNOWN), ("containers", WEB)])
def test_a_directory_that_is_a_link_or_a_file_is_not_read(root: Path, name: str, expected: PodNames) -> None:
    (root / "var/log" / name).rename(root / "away")
    (root / "var/log" / name).symlink_to(root / "away")
    assert PodDirectory(str(root)).names(WEB_UID, WEB_ID) == expected
    (root / "var/log" / name).unlink()
    (root / "var/log" / name).write_text("")
    assert PodDirectory(str(root)).names(WEB_UID, WEB_ID) == expected


@pytest.mark.parametrize("name", ["{}", "_{}", "x_{}", "_x_{}", "x__{}", "a_b_c_{}"])
def test_a_directory_name_of_another_form_gives_nothing(root: Path, name: str) -> None:
    # The uid alone was the kubelet's form before Kubernetes 1.14.
    uid = "a" * 32
    (root / "var/log/pods" / name.format(uid)).mkdir()
    assert PodDirectory(str(root)).names(uid.encode(), None) == UNKNOWN


def test_the_number_of_directory_entries_it_reads_is_bounded(tmp_path: Path) -> None:
    pods = tmp_path / "var/log/pods"
    pods.mkdir(parents=True)
    uids = [f"{number:032}" for number in range(MAX_ENTRIES + 100)]
    for uid in uids:
        (pods / f"ns_pod_{uid}").touch()
    found = [PodDirectory(str(tmp_path)).names(uid.encode(), None).pod for uid in uids[:: len(uids) // 20]]
    assert b"pod" in found
    last = list(pods.iterdir())[-1].name.rpartition("_")[2]
    assert PodDirectory(str(tmp_path)).names(last.encode(), None) == UNKNOWN


@settings(max_examples=500)
@given(st.binary(max_size=80), st.none() | st.binary(max_size=80))
def test_nothing_raises(uid: bytes, container_id: bytes | None) -> None:
    assert PodDirectory("/nowhere").names(uid, container_id) == UNKNOWN
    assert PodDirectory("/").names(uid, container_id) == UNKNOWN
