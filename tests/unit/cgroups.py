# SPDX-License-Identifier: Apache-2.0
"""Paths of cgroups seen in practice, each with its source and the facts that it gives."""

from typing import NamedTuple

from oomkilld.host.cgrouppath import CgroupNames

BESTEFFORT = b"/kubepods.slice/kubepods-besteffort.slice/"
BURSTABLE = b"/kubepods.slice/kubepods-burstable.slice/"
USER_1000 = b"/user.slice/user-1000.slice/user@1000.service"
ANY_ID = b"0123456789abcdef" * 4
OTHER_ID = b"fedcba9876543210" * 4
ANY_UID = b"0d08203e-255a-11e9-8cd9-0007cb0b2cc8"
ANY_POD_SLICE = b"kubepods-pod0d08203e_255a_11e9_8cd9_0007cb0b2cc8.slice"
# The containers of these run within their units, in groups that runc derives from names meant for systemd.
RUNTIMES = (
    *(b"k3s", b"k3s-agent", b"rke2-server", b"rke2-agent", b"k0scontroller", b"k0sworker"),
    *(b"snap.microk8s.daemon-containerd", b"snap.microk8s.daemon-kubelite"),
)


class Row(NamedTuple):
    """``told``: the facts; all others are as for a cgroup without any."""

    origin: str
    path: bytes
    told: CgroupNames


def row(
    origin: str,
    path: bytes,
    *,
    unit: bytes | None = None,
    user_unit: bytes | None = None,
    slice_name: bytes = b"-.slice",
    session: bytes | None = None,
    machine: bytes | None = None,
    container_id: bytes | None = None,
    runtime: str | None = None,
    pod_uid: bytes | None = None,
    user: bytes | None = None,
    inner_id: bytes | None = None,
    inner_runtime: str | None = None,
    exact: bool = True,
) -> Row:
    """A parameter that is left out is a fact that the path does not give."""
    hosts = (unit, user_unit, slice_name, session, machine, user, container_id, runtime, pod_uid)
    return Row(origin, path, CgroupNames(*hosts, inner_id, inner_runtime, exact))


UNITS = (
    row("the root", b"/", exact=False),
    row("nothing at all", b"", exact=False),
    row(
        "kernel log: a service",
        b"/system.slice/dbus.service",
        unit=b"dbus.service",
        slice_name=b"system.slice",
    ),
    row(
        "systemd, test-cgroup-util.c: a group within a service",
        b"/system.slice/getty@tty6.service/tty5",
        unit=b"getty@tty6.service",
        slice_name=b"system.slice",
        exact=False,
    ),
    row(
        "coroot-node-agent: an instance in the slice of its template",
        b"/system.slice/system-postgresql.slice/postgresql@9.4-main.service",
        unit=b"postgresql@9.4-main.service",
        slice_name=b"system-postgresql.slice",
    ),
    row(
        "coroot-node-agent: a slice, its dash escaped",
        rb"/system.slice/system-serial\x2dgetty.slice",
        slice_name=rb"system-serial\x2dgetty.slice",
    ),
    row(
        "systemd, test-cgroup-util.c: escaped for the kernel's files, cgroup-util.c cg_escape()",
        b"/system.slice/system-waldo.slice/_cpu.service/sdfdsaf",
        unit=b"cpu.service",
        slice_name=b"system-waldo.slice",
        exact=False,
    ),
    row(
        "systemd, cg_escape(): a slice escaped",
        b"/_memory.slice/a.service",
        unit=b"a.service",
        slice_name=b"memory.slice",
    ),
    row("PID 1", b"/init.scope", unit=b"init.scope"),
    row("a swap file", rb"/system.slice/swapfile\x2d1.swap", unit=rb"swapfile\x2d1.swap", slice_name=b"system.slice"),
    row(
        "coroot-node-agent: kubelet itself",
        b"/runtime.slice/kubelet.service",
        unit=b"kubelet.service",
        slice_name=b"runtime.slice",
    ),
    row("design.md: an administrator's slice as the domain", b"/tenants.slice", slice_name=b"tenants.slice"),
    row(
        "systemd, test-cgroup-util.c: a template is no unit",
        b"/system.slice/getty@.service",
        slice_name=b"system.slice",
        exact=False,
    ),
    row(
        "systemd, unit_name_is_valid(): nothing before the @",
        b"/system.slice/@a.service",
        slice_name=b"system.slice",
        exact=False,
    ),
    row(
        "systemd, test-cgroup-util.c: a character that no unit's name has",
        b"/system.slice/getty####@tty6.service/xxx",
        slice_name=b"system.slice",
        exact=False,
    ),
    row(
        "systemd, cg_path_get_unit(): no slice after the slices",
        b"/system.slice/a@b.slice",
        slice_name=b"system.slice",
        exact=False,
    ),
    row(
        "systemd, test-cgroup-util.c: slashes in a row",
        b"//foo.slice//foo-bar.slice///a.service//",
        unit=b"a.service",
        slice_name=b"foo-bar.slice",
    ),
    row("coroot-node-agent: Talos, which has no units", b"/podruntime/runtime", exact=False),
    row("systemd, unit-name.h: 255 bytes are the most", b"/" + b"a" * 247 + b".service", unit=b"a" * 247 + b".service"),
    row("systemd, unit-name.h: 256 are too many", b"/" + b"a" * 248 + b".service", exact=False),
    row(
        "unknown type of unit (systemd 230 had it)", b"/system.slice/a.busname", slice_name=b"system.slice", exact=False
    ),
    row(
        "hostile: bytes of no unit's name",
        b"/system.slice/\x1b[31m\xff.service",
        slice_name=b"system.slice",
        exact=False,
    ),
)

USERS = (
    row(
        "kernel log: a login session",
        b"/user.slice/user-1000.slice/session-1.scope",
        unit=b"session-1.scope",
        slice_name=b"user-1000.slice",
        session=b"1",
        user=b"user 1000",
    ),
    row(
        "GDM's own session",
        b"/user.slice/user-120.slice/session-c1.scope",
        unit=b"session-c1.scope",
        slice_name=b"user-120.slice",
        session=b"c1",
        user=b"user 120",
    ),
    row(
        "systemd, test-cgroup-util.c: a unit within a session",
        b"/user.slice/user-1000.slice/session-2.scope/waldo.slice/foobar.service",
        unit=b"session-2.scope",
        slice_name=b"user-1000.slice",
        session=b"2",
        user=b"user 1000",
        exact=False,
    ),
    row("systemd, test-cgroup-util.c: a session without a name", b"/session-.scope", unit=b"session-.scope"),
    row("systemd, session_id_valid()", b"/session-a_b.scope/foo.service", unit=b"session-a_b.scope", exact=False),
    row(
        "systemd, skip_session(): an escaped session is not skipped",
        b"/_session-3.scope/cpu.service",
        unit=b"session-3.scope",
        session=b"3",
        exact=False,
    ),
    row(
        "kernel log: a user's service",
        USER_1000 + b"/background.slice/tracker-miner-fs-3.service",
        unit=b"user@1000.service",
        user_unit=b"tracker-miner-fs-3.service",
        slice_name=b"user-1000.slice",
        user=b"user 1000",
    ),
    row(
        "coredumpctl info: an application",
        USER_1000 + b"/app.slice/app-gnome-Alacritty-6480.scope",
        unit=b"user@1000.service",
        user_unit=b"app-gnome-Alacritty-6480.scope",
        slice_name=b"user-1000.slice",
        user=b"user 1000",
    ),
    row(
        "kernel log: a user's manager",
        USER_1000,
        unit=b"user@1000.service",
        slice_name=b"user-1000.slice",
        user=b"user 1000",
    ),
    row(
        "a slice of a user's manager",
        USER_1000 + b"/app.slice",
        unit=b"user@1000.service",
        slice_name=b"user-1000.slice",
        user=b"user 1000",
        exact=False,
    ),
    row(
        "systemd, test-cgroup-util.c: a user's manager without a user",
        b"/user.slice/user-1000.slice/user@.service/server.service",
        slice_name=b"user-1000.slice",
        user=b"user 1000",
        exact=False,
    ),
    row(
        "systemd, parse_uid(): no leading zero",
        b"/user.slice/user@01000.service/a.service",
        unit=b"user@01000.service",
        slice_name=b"user.slice",
        exact=False,
    ),
    row(
        "root's own manager",
        b"/user.slice/user-0.slice/user@0.service/app.slice/a.service",
        unit=b"user@0.service",
        user_unit=b"a.service",
        slice_name=b"user-0.slice",
        user=b"user 0",
    ),
    row("systemd, uid_is_valid()", b"/user@65535.service/a.service", unit=b"user@65535.service", exact=False),
    row(
        "systemd, parse_uid(): 32 bits",
        b"/user@4294967296.service/a.service",
        unit=b"user@4294967296.service",
        exact=False,
    ),
    row(
        "systemd 256, skip_user_manager(): a capsule",
        b"/capsule.slice/capsule@lab.service/app.slice/a.service",
        unit=b"capsule@lab.service",
        user_unit=b"a.service",
        slice_name=b"capsule.slice",
        user=b"capsule lab",
    ),
    row(
        "systemd, valid_user_group_name(): 31 bytes with the c- of a capsule's user",
        b"/capsule@" + b"a" * 30 + b".service/a.service",
        unit=b"capsule@" + b"a" * 30 + b".service",
        exact=False,
    ),
    row(
        "systemd, capsule_name_is_valid(): no dot",
        b"/capsule@a.b.service/a.service",
        unit=b"capsule@a.b.service",
        exact=False,
    ),
)

MACHINES = (
    row(
        "kernel log: systemd-nspawn, by machinectl",
        rb"/machine.slice/machine-oom\x2d9706e99d\x2d0658\x2d2cf0\x2d7f06\x2d4c339d36c355.scope/payload",
        unit=rb"machine-oom\x2d9706e99d\x2d0658\x2d2cf0\x2d7f06\x2d4c339d36c355.scope",
        slice_name=b"machine.slice",
        machine=b"oom-9706e99d-0658-2cf0-7f06-4c339d36c355",
        exact=False,
    ),
    row(
        "systemd, units/systemd-nspawn@.service: the name is not escaped (%i); a unit in there is not the host's",
        b"/machine.slice/systemd-nspawn@web-1.example.service/payload/system.slice/nginx.service",
        unit=b"systemd-nspawn@web-1.example.service",
        slice_name=b"machine.slice",
        machine=b"web-1.example",
        exact=False,
    ),
    row(
        "systemd, units/systemd-vmspawn@.service",
        b"/machine.slice/systemd-vmspawn@vm.service",
        unit=b"systemd-vmspawn@vm.service",
        slice_name=b"machine.slice",
        machine=b"vm",
    ),
    row(
        "machinectl status of a guest of libvirt",
        rb"/machine.slice/machine-qemu\x2d1\x2df30.scope/libvirt/emulator",
        unit=rb"machine-qemu\x2d1\x2df30.scope",
        slice_name=b"machine.slice",
        machine=b"qemu-1-f30",
        exact=False,
    ),
    row(
        "systemd, unit_name_escape(): an unescaped dash is a slash",
        b"/machine.slice/machine-a-b.scope",
        unit=b"machine-a-b.scope",
        slice_name=b"machine.slice",
    ),
    row(
        "systemd, hostname_is_valid(): no dash at an end",
        rb"/machine.slice/machine-a\x2d.scope",
        unit=rb"machine-a\x2d.scope",
        slice_name=b"machine.slice",
    ),
    row("systemd, hostname_is_valid(): nor first", rb"/machine-\x2da.scope", unit=rb"machine-\x2da.scope"),
    row(
        "systemd, hostname_is_valid(): 64 bytes are the most",
        b"/systemd-nspawn@" + b"a" * 65 + b".service",
        unit=b"systemd-nspawn@" + b"a" * 65 + b".service",
    ),
    row(
        "hostile: an escape that hides a newline",
        rb"/machine.slice/machine-a\x0ab.scope",
        unit=rb"machine-a\x0ab.scope",
        slice_name=b"machine.slice",
    ),
)

CONTAINERS = (
    row(
        "coroot-node-agent: Docker with systemd",
        b"/system.slice/docker-cf87ba651579c9231db817909e7865e5747bd7abcac0c57ce23cf4abbaee046b.scope",
        unit=b"docker-cf87ba651579c9231db817909e7865e5747bd7abcac0c57ce23cf4abbaee046b.scope",
        slice_name=b"system.slice",
        container_id=b"cf87ba651579c9231db817909e7865e5747bd7abcac0c57ce23cf4abbaee046b",
        runtime="docker",
    ),
    row(
        "kernel log (id shortened there): systemd inside Docker",
        b"/system.slice/docker-" + ANY_ID + b".scope/init.scope",
        unit=b"docker-" + ANY_ID + b".scope",
        slice_name=b"system.slice",
        container_id=ANY_ID,
        runtime="docker",
        exact=False,
    ),
    row(
        "kernel log: Docker without systemd",
        b"/docker/081a665985e0314e261f773335ad0e89cb12605933c462c5d48a516a7340e560",
        container_id=b"081a665985e0314e261f773335ad0e89cb12605933c462c5d48a516a7340e560",
        runtime="docker",
    ),
    row(
        "kubernetes#18202: Docker inside Docker",
        b"/docker/81950eac55062e5d8e7b5567d1036e4b146dfe212bdc9263c97347e6ce86b904/docker/" + ANY_ID,
        runtime="docker",
        container_id=b"81950eac55062e5d8e7b5567d1036e4b146dfe212bdc9263c97347e6ce86b904",
        inner_id=ANY_ID,
        inner_runtime="docker",
    ),
    row("GitHub's runners: Docker's --cgroup-parent", b"/actions_job/" + ANY_ID, inner_id=ANY_ID),
    row(
        "moby, oci_linux.go: made for systemd, taken for a path",
        b"/system.slice/containerd.service/system.slice:docker:" + ANY_ID,
        unit=b"containerd.service",
        slice_name=b"system.slice",
        container_id=ANY_ID,
        runtime="docker",
    ),
    row(
        "moby, oci_linux.go: rootless Docker",
        USER_1000 + b"/user.slice/docker-" + ANY_ID + b".scope",
        unit=b"user@1000.service",
        user_unit=b"docker-" + ANY_ID + b".scope",
        slice_name=b"user-1000.slice",
        user=b"user 1000",
        inner_id=ANY_ID,
        inner_runtime="docker",
    ),
    row(
        "Docker's daemon is none of its containers",
        b"/system.slice/docker.service",
        unit=b"docker.service",
        slice_name=b"system.slice",
    ),
    row(
        "podman with systemd and crun, which adds 'container' (opencontainers/runc#4072)",
        b"/machine.slice/libpod-" + ANY_ID + b".scope/container",
        unit=b"libpod-" + ANY_ID + b".scope",
        slice_name=b"machine.slice",
        container_id=ANY_ID,
        runtime="podman",
    ),
    row(
        "podman: a pod",
        b"/machine.slice/machine-libpod_pod_" + OTHER_ID + b".slice/libpod-" + ANY_ID + b".scope",
        unit=b"libpod-" + ANY_ID + b".scope",
        slice_name=b"machine-libpod_pod_" + OTHER_ID + b".slice",
        container_id=ANY_ID,
        runtime="podman",
    ),
    row(
        "podman debug log: its monitor is no container",
        b"/machine.slice/libpod-conmon-6dd05e91f00f99281f70b1fd90a29e5cc30b0dab243cb7cfb6153d8017872394.scope",
        unit=b"libpod-conmon-6dd05e91f00f99281f70b1fd90a29e5cc30b0dab243cb7cfb6153d8017872394.scope",
        slice_name=b"machine.slice",
    ),
    row(
        "podman inspect: without systemd",
        b"/libpod_parent/libpod-cf594798841275880f780c2aa55954b2d218b92a7c82df039aef02e2f4fe83f1",
        container_id=b"cf594798841275880f780c2aa55954b2d218b92a7c82df039aef02e2f4fe83f1",
        runtime="podman",
    ),
    row(
        "podman, without systemd: in a pod",
        b"/libpod_parent/" + OTHER_ID + b"/libpod-" + ANY_ID,
        container_id=ANY_ID,
        runtime="podman",
    ),
    row("podman, conmonCgroupfsPath(): its monitor, without systemd", b"/libpod_parent/conmon", exact=False),
    row(
        "systemctl status: a Quadlet (--cgroups=split)",
        b"/system.slice/nginx.service/libpod-payload-9687bac58d5c4d1606aa46af33d1a21c1d1652e0ac9fb3fc0fc86e3495f42869",
        unit=b"nginx.service",
        slice_name=b"system.slice",
        inner_id=b"9687bac58d5c4d1606aa46af33d1a21c1d1652e0ac9fb3fc0fc86e3495f42869",
        inner_runtime="podman",
    ),
    row(
        "systemctl status: beside that container, what runs it",
        b"/system.slice/nginx.service/runtime",
        unit=b"nginx.service",
        slice_name=b"system.slice",
        exact=False,
    ),
    row(
        "systemctl status: a user's Quadlet",
        USER_1000 + b"/app.slice/redis.service/libpod-payload-" + ANY_ID,
        unit=b"user@1000.service",
        user_unit=b"redis.service",
        slice_name=b"user-1000.slice",
        user=b"user 1000",
        inner_id=ANY_ID,
        inner_runtime="podman",
    ),
    row(
        "nerdctl, generateCgroupPath()",
        b"/system.slice/nerdctl-" + ANY_ID + b".scope",
        unit=b"nerdctl-" + ANY_ID + b".scope",
        slice_name=b"system.slice",
        container_id=ANY_ID,
        runtime="containerd",
    ),
    row("containerd, WithNamespacedCgroup()", b"/k8s.io/" + ANY_ID, container_id=ANY_ID, runtime="containerd"),
    row(
        "kernel log: LXC",
        b"/lxc.payload.ab-p-agent-01/agentbox.run.bash-1",
        container_id=b"ab-p-agent-01",
        runtime="lxc",
        exact=False,
    ),
    row(
        "kernel log: LXC of ChromeOS; a user in there is not the host's",
        b"/lxc.payload.penguin/user.slice/user-1000.slice/user@1000.service",
        container_id=b"penguin",
        runtime="lxc",
        exact=False,
    ),
    row(
        "kernel log: LXC of Proxmox",
        b"/lxc/107/ns/system.slice/paperless-task-queue.service",
        container_id=b"107",
        runtime="lxc",
        exact=False,
    ),
    row("kernel log: the limit of that", b"/lxc/107", container_id=b"107", runtime="lxc"),
    row("LXC 3.1", b"/lxc.payload/c1/init.scope", container_id=b"c1", runtime="lxc", exact=False),
    row("LXC, cgfsng.c: its monitor is no container", b"/lxc.monitor.c1", exact=False),
    row("PVE::LXC: Proxmox's monitor", b"/lxc.monitor/107", exact=False),
    row(
        "LXC, unpriv_systemd_create_scope()",
        USER_1000 + b"/app.slice/lxc-c1-0.scope/lxc.payload.c1",
        unit=b"user@1000.service",
        user_unit=b"lxc-c1-0.scope",
        slice_name=b"user-1000.slice",
        user=b"user 1000",
        inner_id=b"c1",
        inner_runtime="lxc",
    ),
    row(
        "Docker inside LXC",
        b"/lxc.payload.c1/docker/" + ANY_ID,
        container_id=b"c1",
        runtime="lxc",
        inner_id=ANY_ID,
        inner_runtime="docker",
    ),
    row("nothing is called nothing", b"/lxc.payload./lxc", exact=False),
    row(
        "an id cut short",
        b"/system.slice/docker-" + ANY_ID[1:] + b".scope",
        unit=b"docker-" + ANY_ID[1:] + b".scope",
        slice_name=b"system.slice",
    ),
    row("an id after something else", b"/docker_" + ANY_ID, exact=False),
    row("hostile: an id in capitals", b"/docker/" + ANY_ID.upper(), exact=False),
)

PODS = (
    row(
        "kernel log of AKS: containerd with systemd",
        BURSTABLE
        + b"kubepods-burstable-pod5931aa75_4603_4e65_b552_7c71cf55cfb5.slice"
        + b"/cri-containerd-25a38b5b8d556d7983d975577f5ac75ebbcfb4b269e6deaa0a0440c1ffc969ca.scope",
        unit=b"cri-containerd-25a38b5b8d556d7983d975577f5ac75ebbcfb4b269e6deaa0a0440c1ffc969ca.scope",
        slice_name=b"kubepods-burstable-pod5931aa75_4603_4e65_b552_7c71cf55cfb5.slice",
        container_id=b"25a38b5b8d556d7983d975577f5ac75ebbcfb4b269e6deaa0a0440c1ffc969ca",
        runtime="containerd",
        pod_uid=b"5931aa75-4603-4e65-b552-7c71cf55cfb5",
    ),
    row(
        "the same log: the pod as the domain",
        BURSTABLE + b"kubepods-burstable-pod5931aa75_4603_4e65_b552_7c71cf55cfb5.slice",
        slice_name=b"kubepods-burstable-pod5931aa75_4603_4e65_b552_7c71cf55cfb5.slice",
        pod_uid=b"5931aa75-4603-4e65-b552-7c71cf55cfb5",
    ),
    row(
        "kernel log of OpenShift: CRI-O",
        BURSTABLE
        + b"kubepods-burstable-pod58dc1221_d430_496e_951d_e8cb23caaead.slice"
        + b"/crio-8371caad8cc369f16c55ce039fbbe0e4fd1be88e72f119bce94ccd5d07d152fe.scope",
        unit=b"crio-8371caad8cc369f16c55ce039fbbe0e4fd1be88e72f119bce94ccd5d07d152fe.scope",
        slice_name=b"kubepods-burstable-pod58dc1221_d430_496e_951d_e8cb23caaead.slice",
        container_id=b"8371caad8cc369f16c55ce039fbbe0e4fd1be88e72f119bce94ccd5d07d152fe",
        runtime="cri-o",
        pod_uid=b"58dc1221-d430-496e-951d-e8cb23caaead",
    ),
    row(
        "coroot-node-agent: CRI-O with crun",
        BURSTABLE
        + b"kubepods-burstable-podea19ff5d_943a_4466_a07e_a71e9e50cc62.slice"
        + b"/crio-21572039dd8398ff8272b031fa5422a40165145ab37f2f8794e1e7f844fe8118.scope/container",
        unit=b"crio-21572039dd8398ff8272b031fa5422a40165145ab37f2f8794e1e7f844fe8118.scope",
        slice_name=b"kubepods-burstable-podea19ff5d_943a_4466_a07e_a71e9e50cc62.slice",
        container_id=b"21572039dd8398ff8272b031fa5422a40165145ab37f2f8794e1e7f844fe8118",
        runtime="cri-o",
        pod_uid=b"ea19ff5d-943a-4466-a07e-a71e9e50cc62",
    ),
    row(
        "CRI-O, createConmonUnitName(): its monitor, in the pod",
        b"/kubepods.slice/" + ANY_POD_SLICE + b"/crio-conmon-" + ANY_ID + b".scope",
        unit=b"crio-conmon-" + ANY_ID + b".scope",
        slice_name=ANY_POD_SLICE,
        pod_uid=ANY_UID,
    ),
    row(
        "coroot-node-agent: CRI-O without systemd",
        b"/kubepods/poda48c12e8-255a-11e9-8cd9-0007cb0b2cc8/crio-" + ANY_ID,
        container_id=ANY_ID,
        runtime="cri-o",
        pod_uid=b"a48c12e8-255a-11e9-8cd9-0007cb0b2cc8",
    ),
    row(
        "CRI-O: its monitor, without systemd",
        b"/kubepods/pod" + ANY_UID + b"/crio-conmon-" + ANY_ID,
        pod_uid=ANY_UID,
        exact=False,
    ),
    row(
        "coroot-node-agent: Docker under Kubernetes",
        BESTEFFORT
        + b"kubepods-besteffort-pod8712f785_1a3e_41ec_a00b_e2dcc77431cb.slice"
        + b"/docker-73051af271105c07e1f493b34856a77e665e3b0b4fc72f76c807dfbffeb881bd.scope",
        unit=b"docker-73051af271105c07e1f493b34856a77e665e3b0b4fc72f76c807dfbffeb881bd.scope",
        slice_name=b"kubepods-besteffort-pod8712f785_1a3e_41ec_a00b_e2dcc77431cb.slice",
        container_id=b"73051af271105c07e1f493b34856a77e665e3b0b4fc72f76c807dfbffeb881bd",
        runtime="docker",
        pod_uid=b"8712f785-1a3e-41ec-a00b-e2dcc77431cb",
    ),
    row(
        "kernel log: without systemd; Docker and containerd look the same",
        b"/kubepods/burstable/pod28fcb1a0-a45c-44e7-b9bf-e3b9360bedba"
        b"/3e5e5eab87df615f4777e6f7f261a7fb62f4a7ee5bc3e25e3a5b5223ccd368fe",
        container_id=b"3e5e5eab87df615f4777e6f7f261a7fb62f4a7ee5bc3e25e3a5b5223ccd368fe",
        pod_uid=b"28fcb1a0-a45c-44e7-b9bf-e3b9360bedba",
    ),
    row(
        "the same log: the pod as the domain, without systemd",
        b"/kubepods/burstable/pod28fcb1a0-a45c-44e7-b9bf-e3b9360bedba",
        pod_uid=b"28fcb1a0-a45c-44e7-b9bf-e3b9360bedba",
    ),
    row(
        "kernel log: a guaranteed pod's pause process",
        b"/kubepods/podf1c273d3-9b36-11ea-b3df-246e9693c184"
        b"/1f246a3eeea8f70bf91141eeaf1805346a666e225f823906485ea0b6c37dfc3d",
        container_id=b"1f246a3eeea8f70bf91141eeaf1805346a666e225f823906485ea0b6c37dfc3d",
        pod_uid=b"f1c273d3-9b36-11ea-b3df-246e9693c184",
    ),
    row(
        "coroot-node-agent: a pod of a manifest file",
        BURSTABLE
        + b"kubepods-burstable-pod3e61c214bc3ed9ff81e21474dd6cba17.slice"
        + b"/cri-containerd-c74b0f5062f0bc726cae1e9369ad4a95deed6b298d247f0407475adb23fa3190",
        slice_name=b"kubepods-burstable-pod3e61c214bc3ed9ff81e21474dd6cba17.slice",
        container_id=b"c74b0f5062f0bc726cae1e9369ad4a95deed6b298d247f0407475adb23fa3190",
        runtime="containerd",
        pod_uid=b"3e61c214bc3ed9ff81e21474dd6cba17",
    ),
    row(
        "coroot-node-agent: the same, without systemd",
        b"/kubepods/burstable/pod9729a196c4723b60ab401eaff722982d/" + ANY_ID,
        container_id=ANY_ID,
        pod_uid=b"9729a196c4723b60ab401eaff722982d",
    ),
    row(
        "coroot-node-agent: a group within a container",
        b"/kubepods/besteffort/pod0d08203e-255a-11e9-8cd9-0007cb0b2cc8"
        b"/671a50f5d60566556912f61511d0ec9e4d5c78d53fbc4676727180438bbbbc55/kube-proxy",
        container_id=b"671a50f5d60566556912f61511d0ec9e4d5c78d53fbc4676727180438bbbbc55",
        pod_uid=b"0d08203e-255a-11e9-8cd9-0007cb0b2cc8",
        exact=False,
    ),
    row(
        "coroot-node-agent: runc takes what is for systemd for a path",
        b"/system.slice/containerd.service/kubepods-burstable-pod4ed02c0b_0df8_4d14_a30e_fd589ee4143a.slice"
        b":cri-containerd:d4a9f9195eaf7e4a729f24151101e1de61f1398677e7b82acfb936dff0b4ce55",
        unit=b"containerd.service",
        slice_name=b"system.slice",
        container_id=b"d4a9f9195eaf7e4a729f24151101e1de61f1398677e7b82acfb936dff0b4ce55",
        runtime="containerd",
        pod_uid=b"4ed02c0b-0df8-4d14-a30e-fd589ee4143a",
    ),
    *(
        row(
            f"{runtime.decode()}: the same in its own unit",
            b"/system.slice/" + runtime + b".service/" + ANY_POD_SLICE + b":cri-containerd:" + ANY_ID,
            unit=runtime + b".service",
            slice_name=b"system.slice",
            container_id=ANY_ID,
            runtime="containerd",
            pod_uid=ANY_UID,
        )
        for runtime in RUNTIMES
    ),
    row(
        "a user's podman with crun",
        USER_1000 + b"/user.slice/libpod-" + ANY_ID + b".scope/container",
        unit=b"user@1000.service",
        user_unit=b"libpod-" + ANY_ID + b".scope",
        slice_name=b"user-1000.slice",
        user=b"user 1000",
        inner_id=ANY_ID,
        inner_runtime="podman",
    ),
    row(
        "SPIRE: the same at the top",
        b"/kubepods-besteffort-pod72f7f152_440c_66ac_9084_e0fc1d8a910c.slice"
        b":cri-containerd:b2a102854b4969b2ce98dc329c86b4fb2b06e4ad2cc8da9d8a7578c9cd2004a2",
        container_id=b"b2a102854b4969b2ce98dc329c86b4fb2b06e4ad2cc8da9d8a7578c9cd2004a2",
        runtime="containerd",
        pod_uid=b"72f7f152-440c-66ac-9084-e0fc1d8a910c",
    ),
    row(
        "SPIRE: Docker Desktop",
        b"/kubepods/kubepods/besteffort/pod6bd2a4d3-a55a-4450-b6fd-2a7ecc72c904/" + ANY_ID,
        container_id=ANY_ID,
        pod_uid=b"6bd2a4d3-a55a-4450-b6fd-2a7ecc72c904",
    ),
    row(
        "a BPF project's note: a node of kind, with systemd",
        b"/system.slice/docker-fbc411e743aa89de421746b3fc92e4fa475d0f2dc92967fb39c2f78574799701.scope/kubelet.slice"
        b"/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice"
        b"/kubelet-kubepods-besteffort-pod5f413373_db04_4240_a645_993a3fbcffc3.slice"
        b"/cri-containerd-e0d51863af3b89d990370749541ea926418346f6f1c92c255e4862f6a1c04d80.scope",
        unit=b"docker-fbc411e743aa89de421746b3fc92e4fa475d0f2dc92967fb39c2f78574799701.scope",
        slice_name=b"system.slice",
        container_id=b"fbc411e743aa89de421746b3fc92e4fa475d0f2dc92967fb39c2f78574799701",
        runtime="docker",
        inner_id=b"e0d51863af3b89d990370749541ea926418346f6f1c92c255e4862f6a1c04d80",
        inner_runtime="containerd",
    ),
    row(
        "kernel log: a node of kind, without systemd",
        b"/docker/428406e4f18a1cb65e9691d40b63f3d92c95c1b0d15b5c427bed470b6832cd6e/kubelet/kubepods"
        b"/pod1788d98a-0700-426a-8701-2312e4cc2163/a07d3c191742700df28b349710c93b2014b255b22364decb09b53ca123fa8272",
        container_id=b"428406e4f18a1cb65e9691d40b63f3d92c95c1b0d15b5c427bed470b6832cd6e",
        runtime="docker",
        inner_id=b"a07d3c191742700df28b349710c93b2014b255b22364decb09b53ca123fa8272",
    ),
    row(
        "the same log: the pod as the domain, within the node's container",
        b"/docker/428406e4f18a1cb65e9691d40b63f3d92c95c1b0d15b5c427bed470b6832cd6e/kubelet/kubepods"
        b"/pod1788d98a-0700-426a-8701-2312e4cc2163",
        container_id=b"428406e4f18a1cb65e9691d40b63f3d92c95c1b0d15b5c427bed470b6832cd6e",
        runtime="docker",
        exact=False,
    ),
    row(
        "kernel log: Kubernetes inside LXC",
        b"/lxc.payload.ny2g2r5hh3-lxc"
        + BURSTABLE
        + b"kubepods-burstable-poda8697f49_441d_4d4f_90d2_6d8e1fa3bbe7.slice"
        + b"/cri-containerd-3fc28fa1c647ceede9f6b340d0b16c9f1f663698972d22a52e296f291638e014.scope",
        container_id=b"ny2g2r5hh3-lxc",
        runtime="lxc",
        inner_id=b"3fc28fa1c647ceede9f6b340d0b16c9f1f663698972d22a52e296f291638e014",
        inner_runtime="containerd",
    ),
    row(
        "Docker inside a pod",
        b"/kubepods/pod" + ANY_UID + b"/" + OTHER_ID + b"/docker/" + ANY_ID,
        pod_uid=ANY_UID,
        container_id=OTHER_ID,
        inner_id=ANY_ID,
        inner_runtime="docker",
    ),
    row(
        "hostile: a pod that feigns another, below itself",
        b"/kubepods/pod" + ANY_UID + b"/kubepods/pod5931aa75-4603-4e65-b552-7c71cf55cfb5",
        pod_uid=ANY_UID,
        exact=False,
    ),
    row(
        "hostile: a pod that a user feigns",
        USER_1000 + b"/kubepods/pod" + ANY_UID + b"/" + ANY_ID,
        unit=b"user@1000.service",
        slice_name=b"user-1000.slice",
        user=b"user 1000",
        inner_id=ANY_ID,
    ),
    row("the domain of all pods", BURSTABLE[:-1], slice_name=b"kubepods-burstable.slice"),
    row("SPIRE: no pod outside kubepods", b"/something/pod" + ANY_UID, exact=False),
    row(
        "a word that only ends in pod",
        b"/kubepods-api" + ANY_POD_SLICE[9:],
        slice_name=b"kubepods-api" + ANY_POD_SLICE[9:],
    ),
    row(
        "a pod's uid is a UUID or 32 digits",
        b"/kubepods.slice/kubepods-pod1234_abcd_5678_efgh.slice",
        slice_name=b"kubepods-pod1234_abcd_5678_efgh.slice",
    ),
    row(
        "a service that is called like one",
        b"/system.slice/mypod-pod" + ANY_UID + b".service",
        unit=b"mypod-pod" + ANY_UID + b".service",
        slice_name=b"system.slice",
    ),
)

# Names that their owner may choose, chosen to look like somebody else's.
FEIGNED = (
    row(
        "hostile: a user's unit called like the system's",
        USER_1000 + b"/app.slice/sshd.service",
        unit=b"user@1000.service",
        user_unit=b"sshd.service",
        slice_name=b"user-1000.slice",
        user=b"user 1000",
    ),
    row(
        "hostile: another user's manager, below the own",
        USER_1000 + b"/user.slice/user-0.slice/user@0.service/sshd.service",
        unit=b"user@1000.service",
        user_unit=b"user@0.service",
        slice_name=b"user-1000.slice",
        user=b"user 1000",
        exact=False,
    ),
    row(
        "hostile: a user's machine, session and slice",
        USER_1000 + b"/machine.slice/machine-prod.scope/session-1.scope/system.slice/sshd.service",
        unit=b"user@1000.service",
        user_unit=b"machine-prod.scope",
        slice_name=b"user-1000.slice",
        user=b"user 1000",
        exact=False,
    ),
    row(
        "hostile: a pod of the host and its container, below a user's manager",
        USER_1000 + b"/kubepods.slice/" + ANY_POD_SLICE + b"/cri-containerd-" + ANY_ID + b".scope",
        unit=b"user@1000.service",
        user_unit=b"cri-containerd-" + ANY_ID + b".scope",
        slice_name=b"user-1000.slice",
        user=b"user 1000",
        inner_id=ANY_ID,
        inner_runtime="containerd",
    ),
    row(
        "hostile: an LXC container of the host, below a user's manager",
        USER_1000 + b"/lxc.payload.prod-db",
        unit=b"user@1000.service",
        slice_name=b"user-1000.slice",
        user=b"user 1000",
        inner_id=b"prod-db",
        inner_runtime="lxc",
    ),
    row(
        "hostile: a container in a session that was delegated (pam_cgfs)",
        b"/user.slice/user-1000.slice/session-3.scope/docker/" + ANY_ID,
        unit=b"session-3.scope",
        session=b"3",
        slice_name=b"user-1000.slice",
        user=b"user 1000",
        inner_id=ANY_ID,
        inner_runtime="docker",
    ),
    row(
        "a user's slice is the user's, though root alone makes units in there",
        b"/user.slice/user-1000.slice/docker-" + ANY_ID + b".scope",
        unit=b"docker-" + ANY_ID + b".scope",
        slice_name=b"user-1000.slice",
        user=b"user 1000",
        inner_id=ANY_ID,
        inner_runtime="docker",
    ),
    row(
        "hostile: the same, in version 1 of cgroups",
        b"/user/mallory/0/lxc/prod-db",
        inner_id=b"prod-db",
        inner_runtime="lxc",
    ),
    row(
        "hostile: a container that names one of the host's, and a pod, below itself",
        b"/system.slice/docker-" + ANY_ID + b".scope/kubepods/pod" + ANY_UID + b"/" + OTHER_ID,
        unit=b"docker-" + ANY_ID + b".scope",
        slice_name=b"system.slice",
        container_id=ANY_ID,
        runtime="docker",
        inner_id=OTHER_ID,
    ),
    row(
        "hostile: containers in each other",
        b"/docker/" + ANY_ID + b"/lxc.payload.a/docker/" + OTHER_ID,
        container_id=ANY_ID,
        runtime="docker",
        inner_id=b"a",
        inner_runtime="lxc",
        exact=False,
    ),
    row(
        "hostile: a container that is called like a directory of runtimes",
        b"/lxc/docker/" + ANY_ID,
        container_id=b"docker",
        runtime="lxc",
        inner_id=ANY_ID,
        inner_runtime="docker",
    ),
    row(
        "hostile: a container of a build (BuildKit), whose id is none",
        b"/docker/buildkit/nrw5vkvnmgg7/docker/" + ANY_ID,
        inner_id=ANY_ID,
        inner_runtime="docker",
    ),
    row(
        "hostile: a service with Delegate=yes",
        b"/system.slice/ci.service/kubepods/pod" + ANY_UID + b"/" + ANY_ID,
        unit=b"ci.service",
        slice_name=b"system.slice",
        inner_id=ANY_ID,
    ),
    row(
        "hostile: a machine",
        b"/machine.slice/machine-box.scope/payload/system.slice/docker-" + ANY_ID + b".scope/x",
        unit=b"machine-box.scope",
        slice_name=b"machine.slice",
        machine=b"box",
        inner_id=ANY_ID,
        inner_runtime="docker",
        exact=False,
    ),
)

ROWS = UNITS + USERS + MACHINES + CONTAINERS + PODS + FEIGNED
