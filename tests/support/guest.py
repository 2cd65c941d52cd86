"""Virtual machines for tests: where their kernel and programs come from, and how one runs."""

import gzip
import hashlib
import json
import pathlib
import platform
import shutil
import subprocess

KERNEL_PACKAGE = "linux-image-amd64"
# What runs in a guest beside what the host has. Unpacked, never installed: some of it would start daemons.
PACKAGES = ["open-iscsi", "multipath-tools", "sg3-utils", "udev", "e2fsprogs", "hostname", "procps", "fio",
            "python3-pexpect", "python3-pycurl"]
# Without what they depend on: most of that is for other clouds' fences than fence_scsi.
PACKAGES_ALONE = ["fence-agents"]
MODULES = ["virtio_pci", "9pnet_virtio", "9p", "overlay", "nvme", "crc32c_generic", "iscsi_tcp", "sd_mod", "sg",
           "dm-multipath", "scsi_dh_alua", "dm-round-robin", "ext4"]
DOWNLOAD_SECONDS = 300
CASE_SECONDS = 300
DISK_BYTES = 64 << 20
# What a second disk can't do: a read and a write that fail once, and a block that can't be read at all.
FLAWS = [{"event": "none", "iotype": kind, "sector": (mib << 20) // 512, "errno": 5, "once": once}
         for kind, mib, once in (("read", 8, True), ("write", 16, True), ("read", 24, False))]
QEMU = "qemu-system-x86_64"


class Missing(Exception):
    """Guests can't be had here."""


def run(*command, directory=None, limit=DOWNLOAD_SECONDS):
    """What a program prints that must succeed."""
    try:
        done = subprocess.run(command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              timeout=limit, check=False)
    except FileNotFoundError as error:
        raise Missing(f"there is no {command[0]}") from error
    except subprocess.TimeoutExpired as late:
        raise Missing(f"{' '.join(command)}: longer than {limit} s") from late
    if done.returncode != 0:
        reason = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise Missing(f"{' '.join(command)}: {' '.join(reason)}")
    return done.stdout.decode(errors="replace")


class Tools:
    """Kernel, first file system and programs of guests, kept from run to run."""

    def __init__(self, directory):
        if platform.machine() != "x86_64":
            raise Missing(f"guests are x86_64, and this is {platform.machine()}")
        for program in (QEMU, "apt-get", "dpkg-deb", "depmod", "modprobe"):
            if shutil.which(program) is None:
                raise Missing(f"there is no {program}")
        self.directory = pathlib.Path(directory).resolve()
        named = hashlib.sha256(" ".join(PACKAGES + PACKAGES_ALONE).encode()).hexdigest()[:8]
        self.packages = self.directory / f"packages-{named}"
        name = self._kernel_package()
        self.release = name.removeprefix("linux-image-")
        kernel = self.directory / name
        if not kernel.exists():
            self._unpack([name], kernel)
            run("depmod", "-b", str(kernel), self.release)
        if not self.packages.exists():
            self._unpack_missing(PACKAGES, PACKAGES_ALONE, self.packages)
        busybox = self.directory / "busybox"
        if not busybox.exists():
            self._unpack(["busybox-static"], busybox)
        self.kernel = kernel / "boot" / f"vmlinuz-{self.release}"
        self.busybox = busybox / "bin" / "busybox"
        self._kernel_tree = kernel

    @staticmethod
    def _kernel_package():
        for line in run("apt-cache", "depends", KERNEL_PACKAGE).splitlines():
            if "Depends: linux-image-" in line:
                return line.split()[-1]
        raise Missing(f"{KERNEL_PACKAGE} is no package here")

    def _unpack(self, names, place):
        """Packages by themselves."""
        archives = self.directory / "archives"
        archives.mkdir(parents=True, exist_ok=True)
        run("apt-get", "download", "-q", *names, directory=archives)
        self._extract(archives, place)

    def _unpack_missing(self, names, alone, place):
        """Those of the packages, and of what they depend on, that are not installed; and others by themselves."""
        archives = self.directory / "archives"
        (archives / "partial").mkdir(parents=True, exist_ok=True)
        run("apt-get", "install", "-q", "-y", "--no-install-recommends", "--download-only",
            "-o", f"Dir::Cache::archives={archives}", "-o", "Debug::NoLocking=1", *names)
        run("apt-get", "download", "-q", *alone, directory=archives)
        self._extract(archives, place, merge_usr)

    @staticmethod
    def _extract(archives, place, finish=lambda _: None):
        # Under another name until it is whole.
        unfinished = place.with_name(place.name + ".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        for package in archives.glob("*.deb"):
            run("dpkg-deb", "-x", str(package), str(unfinished))
        finish(unfinished)
        shutil.rmtree(archives)
        unfinished.rename(place)

    def modules(self):
        """The files of all modules, each behind those that it needs."""
        files = []
        for module in MODULES:
            text = run("modprobe", "-d", str(self._kernel_tree), "-S", self.release, "--show-depends", module)
            for line in text.splitlines():
                kind, _, path = line.strip().partition(" ")
                if kind == "insmod" and path not in files:
                    files.append(path)
        return [pathlib.Path(path.strip()) for path in files]


def merge_usr(tree):
    """Moves what packages have in /bin to /usr/bin, if the host has it under both names (merged /usr)."""
    for name in ("bin", "sbin", "lib", "lib64"):
        if (tree / name).is_dir() and pathlib.Path("/", name).is_symlink():
            shutil.copytree(tree / name, tree / "usr" / name, symlinks=True, dirs_exist_ok=True)
            shutil.rmtree(tree / name)


def initramfs(tools, init):
    """An archive as the kernel unpacks it (its documentation calls the format `newc`)."""
    entries = [(name, 0o040755, b"") for name in ("dev", "proc", "sys", "host", "packages", "memory", "root", "modules")]
    entries += [("busybox", 0o100755, tools.busybox.read_bytes()), ("init", 0o100755, init.read_bytes())]
    entries += [(f"modules/{number:03}-{path.name}", 0o100644, path.read_bytes())
                for number, path in enumerate(tools.modules())]
    archive = bytearray()
    for name, mode, content in [*entries, ("TRAILER!!!", 0, b"")]:
        encoded = name.encode() + b"\0"
        fields = [0, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(encoded), 0]
        archive += b"070701" + b"".join(b"%08x" % field for field in fields) + encoded
        archive += bytes(-len(archive) % 4) + content
        archive += bytes(-len(archive) % 4)
    return gzip.compress(bytes(archive), compresslevel=1)


class Guest:
    """One machine, which ends with its case; leaving the `with` block ends it in any case."""

    def __init__(self, tools, home, case, binary, logs):
        self.tools, self.home, self.case, self.binary = tools, home, case, binary
        self.console, self.reports = logs / f"{case}.console", logs / f"{case}.report"
        self.disk, self.flawed = logs / f"{case}.disk", logs / f"{case}.flawed"
        self.archive = logs / f"{case}.initramfs"
        self.report, self.ended, self._process = [], None, None

    def __enter__(self):
        for path in (self.console, self.reports):
            path.write_bytes(b"")
        self.archive.write_bytes(initramfs(self.tools, self.home / "init"))
        for disk in (self.disk, self.flawed):
            with open(disk, "wb") as file:
                file.truncate(DISK_BYTES)
        arguments = {"guest": self.home, "case": f"{self.case}.sh", "binary": self.binary}
        words = ["console=ttyS0", "quiet", "panic=-1"]
        words += [f"holdfast.{name}={value}" for name, value in arguments.items()]
        # Without KVM: where it is there and does not work, a guest hangs.
        command = [QEMU, "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1536",
                   "-display", "none", "-no-reboot", "-nic", "none",
                   "-serial", f"file:{self.console}", "-serial", f"file:{self.reports}",
                   "-kernel", str(self.tools.kernel), "-initrd", str(self.archive), "-append", " ".join(words),
                   "-virtfs", self._share("host", "/"), "-virtfs", self._share("packages", self.tools.packages),
                   "-drive", f"file={self.disk},if=none,id=disk,format=raw",
                   "-device", "nvme,serial=holdfast,drive=disk",
                   "-blockdev", json.dumps({
                       "driver": "blkdebug", "node-name": "flawed", "inject-error": FLAWS,
                       "image": {"driver": "file", "filename": str(self.flawed)}}),
                   "-device", "nvme,serial=flawed,drive=flawed"]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                         stderr=subprocess.PIPE)
        return self

    @staticmethod
    def _share(tag, path):
        return f"local,path={path},mount_tag={tag},security_model=none,readonly=on,multidevs=remap"

    def run(self):
        """Waits for the end of the case."""
        try:
            _, errors = self._process.communicate(timeout=CASE_SECONDS)
            if self._process.returncode != 0:
                with open(self.console, "ab") as console:
                    console.write(b"\n" + errors)
        except subprocess.TimeoutExpired:
            with open(self.console, "ab") as console:
                console.write(b"\nlonger than %d s\n" % CASE_SECONDS)
        for line in self.reports.read_text(errors="replace").splitlines():
            if line.startswith("exit "):
                self.ended = int(line.removeprefix("exit "))
            elif line:
                self.report.append(line)

    def console_tail(self, lines=25):
        """The last lines of its console."""
        return self.console.read_text(errors="replace").splitlines()[-lines:]

    def __exit__(self, *_):
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for path in (self.disk, self.flawed, self.archive):
            path.unlink(missing_ok=True)
