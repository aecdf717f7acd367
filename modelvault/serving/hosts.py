"""What a host should be like before it serves: a list, each item with a command that checks it."""

from collections.abc import Iterator
from dataclasses import dataclass

from modelvault.serving.choices import Form
from modelvault.serving.quoting import shell
from modelvault.serving.setup import Setup

SETTINGS = (
    ("vm.swappiness", "10"),
    ("net.core.somaxconn", "4096"),
)
"""Kernel settings that are written as a file of their own."""
_REASONS = {
    "vm.swappiness": "weights that went to swap come back page by page, while everybody waits",
    "net.core.somaxconn": "many clients that connect at once are not turned away",
}
_GOVERNOR = "/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
_PERSISTENCE = "nvidia-smi --query-gpu=persistence_mode --format=csv,noheader | sort -u"
_ECC = "nvidia-smi --query-gpu=ecc.errors.uncorrected.volatile.total --format=csv,noheader"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostCheck:
    """One item of the list."""

    subject: str
    """What should be so."""
    reason: str
    """Why, as a sentence."""
    command: str
    """Shows how it is; changes nothing."""
    expected: str
    """What the command should print."""
    remedy: str
    """A command or a sentence."""


def list_checks(setup: Setup) -> tuple[HostCheck, ...]:
    """Return what is to be looked at on the host, or the node, of a server."""
    checks = [*_kernel(), *_processor(), *_files(setup)]
    if setup.memory.gpus:
        checks += _gpus(setup)
    if setup.form is Form.SYSTEMD:
        checks += _unit(setup)
    return tuple(checks)


def _kernel() -> Iterator[HostCheck]:
    for name, value in SETTINGS:
        yield HostCheck(
            subject=f"{name} is {value}",
            reason=f"{_REASONS[name].capitalize()}.",
            command=f"sysctl -n {name}",
            expected=value,
            remedy="copy sysctl.d/90-modelvault.conf to /etc/sysctl.d, then: sysctl --system",
        )
    yield HostCheck(
        subject="No swap is used",
        reason="A server that swaps is slower than one that stops.",
        command="awk 'NR > 1 {used += $4} END {print used + 0}' /proc/swaps",
        expected="0",
        remedy="swapoff --all, and take its line out of /etc/fstab",
    )
    yield HostCheck(
        subject="Large pages are there for who asks",
        reason="Always is known for stalls, never for slower loading.",
        command="cat /sys/kernel/mm/transparent_hugepage/enabled",
        expected="always [madvise] never",
        remedy="transparent_hugepage=madvise on the kernel's command line",
    )
    yield HostCheck(
        subject="The clock is right",
        reason="Certificates, bundles and logs are judged by it.",
        command="timedatectl show --property NTPSynchronized --value",
        expected="yes",
        remedy="name the site's time server in /etc/systemd/timesyncd.conf",
    )


def _processor() -> Iterator[HostCheck]:
    yield HostCheck(
        subject="The processor runs at full speed",
        reason="It feeds the GPU token by token, and sleeps in between.",
        command=f"cat {_GOVERNOR} 2>/dev/null | sort -u",
        expected="performance (nothing, where the firmware decides)",
        remedy="cpupower frequency-set --governor performance",
    )


def _files(setup: Setup) -> Iterator[HostCheck]:
    path = shell(str(setup.model.path))
    yield HostCheck(
        subject="The service may read the model",
        reason="Every folder above it has to let others through.",
        command=f"setpriv --reuid=65534 --regid=65534 --clear-groups test -r {path} && echo yes",
        expected="yes",
        remedy="chmod o+x on the folders above, or name the owner with --user",
    )
    yield HostCheck(
        subject="The model is on a local disk",
        reason="It is read at 500 MB a second or more, or a restart takes an hour.",
        command=f"findmnt --noheadings --output FSTYPE --target {path}",
        expected="ext4 or xfs, on NVMe; not nfs, cifs or fuse",
        remedy="install the model on another disk: modelvault install --dir",
    )
    if setup.form is not Form.KUBERNETES:
        port = setup.address.port
        yield HostCheck(
            subject=f"Port {port} is bound where it should be",
            reason="Without a proxy nobody but this host should reach it.",
            command=f"ss --no-header --listening --tcp --numeric 'sport = :{port}'",
            expected=f"one line, with {setup.address}",
            remedy="stop what else listens there",
        )


def _gpus(setup: Setup) -> Iterator[HostCheck]:
    yield HostCheck(
        subject=f"The driver sees {setup.memory.gpus} GPU or more",
        reason="The model is spread over as many.",
        command="nvidia-smi --list-gpus | wc -l",
        expected=f"{setup.memory.gpus} or more",
        remedy="dmesg names what the driver misses",
    )
    yield HostCheck(
        subject="The driver stays loaded",
        reason="Without persistence it is set up anew for each process.",
        command=_PERSISTENCE,
        expected="Enabled",
        remedy="systemctl enable --now nvidia-persistenced",
    )
    yield HostCheck(
        subject="Memory of the GPU is managed by its module",
        reason="A sandboxed service cannot load nvidia-uvm itself.",
        command="grep -c '^nvidia_uvm ' /proc/modules",
        expected="1",
        remedy="echo nvidia-uvm > /etc/modules-load.d/nvidia-uvm.conf, then: modprobe nvidia-uvm",
    )
    yield HostCheck(
        subject="No GPU has lost bits",
        reason="Errors that could not be corrected end in wrong answers or in a stop.",
        command=_ECC,
        expected="0 for each GPU ([N/A] where it has no ECC)",
        remedy="reset the GPU; replace it if they come back",
    )
    yield HostCheck(
        subject="NUMA balancing is off",
        reason="It moves pages away under the GPU's hands.",
        command="cat /proc/sys/kernel/numa_balancing",
        expected="0 (nothing, where the kernel has none)",
        remedy="echo kernel.numa_balancing=0 > /etc/sysctl.d/91-numa.conf, then: sysctl --system",
    )


def _unit(setup: Setup) -> Iterator[HostCheck]:
    unit = f"{setup.slug}.service"
    yield HostCheck(
        subject="The limits of the unit hold",
        reason="Drop-ins of the site can take them away.",
        command=f"systemctl show {unit} --property LimitNOFILE,LimitMEMLOCK,ProtectSystem",
        expected="LimitNOFILE=65536 LimitMEMLOCK=infinity ProtectSystem=strict, one a line",
        remedy=f"systemctl cat {unit} shows which drop-in it is",
    )
    yield HostCheck(
        subject="The sandbox is shut",
        reason="systemd grades what the service could still do.",
        command=f"systemd-analyze security --no-pager {unit} | tail -n 1",
        expected="an exposure level of 3.0 or less",
        remedy=f"systemctl cat {unit} shows what was opened",
    )
