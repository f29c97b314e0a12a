"""One flipped bit in each kind of file: found at the start, named, and the rest still serves."""
import random
import struct

from harness import (Hark, WRITE_HEADERS, field, now_ms, remote_write, sample, snappy, varint,
                     wait_for)

GROUP = b"HGRP"  # how a group of the log begins


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(data)


def fill(hark, count):
    """Acked writes, one after the other: each has its own group in the log."""
    start = now_ms() - count * 1000
    for i in range(count):
        series = [({"__name__": "kept", "n": str(n)}, [(float(i), start + i * 1000)]) for n in range(5)]
        assert remote_write(hark, series) == 204
    return start


def check_rest(hark, start, count, lost_max):
    """Every sample that is there is right; at most `lost_max` writes are gone."""
    missing = 0
    for n in range(5):
        rows = hark.get(f'/api/v1/query?query=kept{{n="{n}"}}[1h]')["data"]["result"]
        found = {round(float(t) * 1000): float(v) for row in rows for t, v in row["values"]}
        for i in range(count):
            stamp = start + i * 1000
            if stamp in found:
                assert found.pop(stamp) == float(i), (n, i)
            else:
                missing += 1
        assert not found, found
    assert missing <= lost_max * 5, missing
    return missing


def group_starts(data):
    """Offsets of the groups in a file of the log."""
    starts, at = [], data.find(GROUP)
    while at >= 0:
        starts.append(at)
        at = data.find(GROUP, at + 1)
    return starts


def test_damaged_log():
    hark = Hark()
    with hark:
        start = fill(hark, 20)
        hark.kill()
        log = max(hark.data.rglob("*.wal"), key=lambda p: len(group_starts(p.read_bytes())))
        groups = group_starts(log.read_bytes())
        assert len(groups) >= 20, (log, groups)
        # One in the middle that holds a write: those are all of one size.
        sizes = [end - begin for begin, end in zip(groups, groups[1:])]
        usual = max(set(sizes), key=sizes.count)
        writes = [begin for begin, size in zip(groups, sizes) if size == usual]
        victim = writes[len(writes) // 2]
        flip(log, victim + 70)
        hark.start()
        assert log.name in hark.output() and f"damaged at byte {victim}" in hark.output(), hark.output()
        assert check_rest(hark, start, 20, 1) > 0
        # It goes on as before, and the damage stays behind.
        assert remote_write(hark, [({"__name__": "new"}, [(1.0, now_ms())])]) == 204
        hark.stop()
        hark.start()
        assert hark.value("new") == 1.0
        check_rest(hark, start, 20, 1)


def test_damaged_end_of_the_log():
    hark = Hark()
    with hark:
        start = fill(hark, 10)
        hark.kill()
        log = max(hark.data.rglob("*.wal"), key=lambda p: len(group_starts(p.read_bytes())))
        last = group_starts(log.read_bytes())[-1]
        flip(log, last + 70)
        hark.start()
        assert log.name in hark.output() and "torn" in hark.output(), hark.output()
        check_rest(hark, start, 10, 1)
        assert remote_write(hark, [({"__name__": "new"}, [(1.0, now_ms())])]) == 204
        assert hark.value("new") == 1.0


def test_damaged_registration():
    hark = Hark()
    with hark:
        fill(hark, 2)
        assert remote_write(hark, [({"__name__": "later"}, [(1.0, now_ms())])]) == 204
        hark.stop()
        files = list(hark.data.rglob("series.reg"))
        assert len(files) == 1, files
        flip(files[0], 64 + 30)
        hark.start(wait=False)
        assert hark.process.wait(20) == 1, hark.output()
        assert "series.reg: damaged group at byte 64" in hark.output(), hark.output()
        flip(files[0], 64 + 30)
        hark.start()
        assert hark.value("later") == 1.0


def label(name, value):
    return field(1, field(1, name.encode()) + field(2, value.encode()))


def fill_block(hark):
    """Writes until there is a block: a quarter of the memory in values that do not compress."""
    source = random.Random(1)
    start = now_ms() - 600000
    part = 0

    def write():
        nonlocal part
        samples = b"".join(sample(source.random(), start + part * 1000 + i) for i in range(1000))
        body = b"".join(field(1, label("__name__", "kept") + label("n", str(n)) + samples)
                        for n in range(50))
        status = hark.request("POST", "/api/v1/write", snappy(body), WRITE_HEADERS)[0]
        assert status in (204, 429, 503), status  # near the limit the sender is slowed
        part += status == 204
        return list(hark.data.rglob("*.block"))

    wait_for(write, "a block")
    hark.stop()


def test_damaged_keeps():
    """The files of metadata and exemplars, which hold what the log held before."""
    with Hark(flags=["--memory", "48MB"]) as hark:
        stamp = now_ms()
        body = b""
        for n in range(20):
            other = field(3, label("trace_id", f"t{n}") + b"\x11" + struct.pack("<d", n)
                          + b"\x18" + varint(stamp))
            body += field(1, label("__name__", "m") + label("n", str(n)) + sample(1.0, stamp) + other)
            body += field(3, b"\x08\x02" + field(2, f"m{n}".encode()) + field(4, b"help " * 5))
        assert hark.request("POST", "/api/v1/write", snappy(body), WRITE_HEADERS)[0] == 204
        fill_block(hark)
        files = {name: hark.data / name for name in ("metadata", "exemplars")}
        whole = {name: path.read_bytes() for name, path in files.items()}

        def counts():
            found = hark.get("/api/v1/query_exemplars?query=m")["data"]
            return len(hark.get("/api/v1/metadata")["data"]), len(found)

        hark.start()
        assert counts() == (20, 20), counts()
        hark.stop()
        for name, path in files.items():
            for at in (16, len(whole[name]) // 2, len(whole[name]) - 1):
                flip(path, at)
                before = len(hark.output())
                hark.start()
                output = hark.output()[before:]
                assert f"/{name}: damaged at byte" in output, output
                lost = [20 - count for count in counts()]
                own = lost[0] if name == "metadata" else lost[1]
                assert own <= 1 and sum(lost) == own, (name, at, lost)
                assert remote_write(hark, [({"__name__": "new"}, [(1.0, now_ms())])]) == 204
                hark.stop()
                path.write_bytes(whole[name])


def test_damaged_block():
    with Hark(flags=["--memory", "48MB"]) as hark:
        fill_block(hark)
        block, = hark.data.rglob("*.block")
        data = block.read_bytes()

        # A chunk: who asks for it is told, the others are served.
        flip(block, len(data) // 2)
        hark.start()
        failed = 0
        for n in range(50):
            status, _, body = hark.request("GET", f'/api/v1/query?query=kept{{n="{n}"}}[1h]')
            if status != 200:
                failed += 1
                assert status == 500 and b"section chunks" in body, (status, body)
                assert block.name.encode() in body and b"bad checksum" in body, body
        assert failed == 1, failed
        hark.stop()

        # Its end or its head: the block is named and kept aside, the rest is there.
        for at in (len(data) - 40, 20):
            block.write_bytes(data)
            flip(block, at)
            before = len(hark.output())
            hark.start()
            aside = block.with_name(block.name + ".quarantined")
            assert aside.exists() and not block.exists(), list(block.parent.iterdir())
            assert block.name in hark.output()[before:], hark.output()[before:]
            assert hark.value('count_over_time(kept{n="49"}[1h])') > 0
            assert remote_write(hark, [({"__name__": "new"}, [(1.0, now_ms())])]) == 204
            assert hark.value("new") == 1.0
            hark.stop()
            aside.unlink()
        hark.start()
