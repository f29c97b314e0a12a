#!/usr/bin/env bash
# A fresh Debian 12 with git only: clone, the README's two commands, one query.
set -euo pipefail
repo=$1
tree=${FRESH_TREE:-/var/tmp/hark-fresh}
[ "$(id -u)" = 0 ] || { echo "fresh needs root (chroot)" >&2; exit 2; }

# The host's package source and proxy settings are used as they are.
mirror=$(sed -nE 's/^(deb|URIs:)( \[[^]]*\])? *([^ ]+).*/\3/p' /etc/apt/sources.list \
    /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null | head -1 || true)
[ -n "$mirror" ] || { echo "no package source found in /etc/apt" >&2; exit 1; }
cleanup() { umount -l "$tree/proc" "$tree/dev" 2>/dev/null || true; }
trap cleanup EXIT
cleanup
rm -rf "$tree"
mkdir -p "$tree"
debootstrap --variant=minbase --include=git,ca-certificates bookworm "$tree" "$mirror"
cp -r /etc/apt/. "$tree/etc/apt/"
for file in /etc/resolv.conf /etc/hosts /etc/pip.conf; do
    [ -f "$file" ] && cp -L "$file" "$tree$file"
done
for file in .npmrc .config/pip .pip; do
    [ -e "$HOME/$file" ] && { mkdir -p "$tree/root/$(dirname "$file")"; cp -rL "$HOME/$file" "$tree/root/$file"; }
done
[ -d /usr/local/share/ca-certificates ] && cp -r /usr/local/share/ca-certificates "$tree/usr/local/share/"
chroot "$tree" update-ca-certificates >/dev/null 2>&1 || true
mount --bind /proc "$tree/proc"
mount --rbind /dev "$tree/dev"
git clone -q "$repo" "$tree/root/hark"
# Proxy and certificate settings of the host; files that they name are copied to the same place.
passed_on=()
while IFS='=' read -r name value; do
    case "$name" in
    PIP_* | SSL_CERT_* | CURL_CA_BUNDLE | REQUESTS_CA_BUNDLE | http_proxy | https_proxy | no_proxy | \
        HTTP_PROXY | HTTPS_PROXY | NO_PROXY) ;;
    *) continue ;;
    esac
    passed_on+=("$name=$value")
    if [ -e "$value" ]; then
        mkdir -p "$tree$(dirname "$value")"
        cp -rL --remove-destination "$value" "$tree$(dirname "$value")/"
    fi
done < <(env)
inside() { chroot "$tree" /usr/bin/env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin "${passed_on[@]}" bash -c "$1"; }

echo "== ./dev run"
inside 'cd /root/hark && ./dev run --port-file /tmp/ports --http 127.0.0.1:0 --otlp-grpc 127.0.0.1:0 --otlp-http 127.0.0.1:0 >/tmp/run.log 2>&1 & echo $! >/tmp/run.pid' &
for _ in $(seq 900); do [ -f "$tree/tmp/ports" ] && break; sleep 1; done
[ -f "$tree/tmp/ports" ] || { tail -50 "$tree/tmp/run.log"; echo "hark did not start" >&2; exit 1; }
port=$(sed -nE 's/.*"http":([0-9]+).*/\1/p' "$tree/tmp/ports")
for _ in $(seq 50); do
    answer=$(inside "curl -s 'http://127.0.0.1:$port/api/v1/query?query=node_load1'")
    case "$answer" in *'"value"'*) break ;; esac
    sleep 0.2
done
echo "$answer"
inside 'pkill -TERM -x hark || kill $(pidof hark)' || true
case "$answer" in *'"value"'*) ;; *) echo "node_load1 has no value" >&2; exit 1 ;; esac

echo "== ./dev test"
inside 'cd /root/hark && ./dev test'
