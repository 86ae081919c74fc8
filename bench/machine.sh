#!/bin/sh
# machine.sh KERNEL SCRIPT FILE...: runs a shell script in an emulated machine that
# counts instructions, in a folder with the files: programs, with the libraries that
# they load, and folders. Its one processor takes a nanosecond for each instruction,
# in user and kernel mode, and its clocks go by that, whatever else this machine
# does: CPU time there is a count of instructions. README.md says what it needs.
set -eu
kernel=$1 script=$2
shift 2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
mkdir -p "$root/bin" "$root/proc" "$root/sys" "$root/dev" "$root/tmp" "$root/lib64" "$root/lib" "$root/bench"
cp "$(command -v busybox)" "$root/bin/"
for applet in sh cat mount ifconfig poweroff; do ln -s busybox "$root/bin/$applet"; done
cp "$script" "$root/script"
for file; do
	[ -e "$file" ] || continue # a peer that isn't there
	cp -rL "$file" "$root/bench/"
	[ -d "$file" ] && continue
	ldd "$file" 2>/dev/null | sed -n 's/.*=> \(\/[^ ]*\).*/\1/p' | while read -r library; do cp -L "$library" "$root/lib/"; done
done
cp -L /lib64/ld-linux-x86-64.so.2 "$root/lib64/"
cat >"$root/init" <<'INIT'
#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
ifconfig lo 127.0.0.1 up
export HOME=/tmp TMPDIR=/tmp PATH=/bin:/bench LD_LIBRARY_PATH=/lib
cd /bench
sh /script 2>errors || cat errors
poweroff -f
INIT
chmod +x "$root/init"
(cd "$root" && find . | cpio -o -H newc --quiet) >"$work/initrd"
# shift=0 is a nanosecond for an instruction; time without any passes at once.
qemu-system-x86_64 -M q35 -cpu max -smp 1 -m 3000 -nodefaults -no-reboot -display none \
	-accel tcg,thread=single,tb-size=512 -icount shift=0,sleep=off \
	-kernel "$kernel" -initrd "$work/initrd" -serial stdio \
	-append "console=ttyS0 quiet loglevel=0 panic=-1 mitigations=off tsc=reliable bench.clock=instructions" | sed -u 's/\r$//'
