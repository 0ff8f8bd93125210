# Boots systemd in namespaces of its own. Arguments: root that stays as it is, directory for what changes, control group.
set -e
lower=$1
directory=$2
echo $$ >"$3/cgroup.procs"
# The parent of process 1 stays what it is: who kills it, kills all.
exec unshare --pid --mount --uts --ipc --cgroup --fork --kill-child sh -ec '
    lower=$1 directory=$2 root=$2/root
    mount --make-rprivate /
    mkdir -p "$directory/upper" "$directory/work" "$root"
    mount -t overlay overlay -o "lowerdir=$lower,upperdir=$directory/upper,workdir=$directory/work" "$root"
    hostname guest
    mount -t proc proc "$root/proc"
    mount -t sysfs sysfs "$root/sys"
    mount -t bpf bpf "$root/sys/fs/bpf" -o mode=0700
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
    mount -t tmpfs tmpfs "$root/run" -o mode=755
    mount -t tmpfs tmpfs "$root/dev" -o mode=755
    for name in null zero full random urandom tty; do
        touch "$root/dev/$name"
        mount --bind "/dev/$name" "$root/dev/$name"
    done
    mkdir "$root/dev/pts" "$root/dev/shm"
    mount -t devpts devpts "$root/dev/pts" -o newinstance,ptmxmode=666
    ln -s pts/ptmx "$root/dev/ptmx"
    # With "container" set, systemd leaves the clock, the consoles and the devices of the machine alone.
    exec env -i container=lab PATH=/usr/sbin:/usr/bin chroot "$root" \
        /lib/systemd/systemd --log-target=console --show-status=no
' boot "$lower" "$directory"
