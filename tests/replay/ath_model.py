"""ATH as its description reads, with lists and loops and nothing kept up to date: what the fast one must agree with."""

from __future__ import annotations


class AthModel:
    """Stores finished episodes as lists of frames; rebuilds its buckets whenever it is asked."""

    def __init__(self, config):
        self.config, self.gears = config, config.table()
        self.episodes = []  # (frames, was truncated)
        self.gear = 1
        self.finished = self.cooldown = self.since_best = self.alerts = self.resets = 0
        self.best = self.last_up = None
        self.down_is_due = False

    def finish(self, frames, truncated, score):
        self.finished += 1
        if len(frames) + truncated <= self.config.capacity:
            self.episodes.append((frames, truncated))
            while sum(len(one) + cut for one, cut in self.episodes) > self.config.capacity:
                self.episodes.pop(0)
        self.cooldown += 1
        if self.best is None or score > self.best:
            self.best, self.since_best, self.alerts, self.down_is_due = score, 0, 0, False
            if self.config.record_restarts_cooldown:
                self.cooldown = 0
        else:
            self.since_best += 1
            self.look_for_stagnation()
        if self.cooldown > self.config.cooldown:
            self.shift_if_due()

    def look_for_stagnation(self):
        every, reset = self.config.stagnation_episodes, self.config.reset_episodes
        if every and self.since_best % every == 0:
            self.alerts += 1
            if self.last_up is None or self.finished - self.last_up > every:
                self.down_is_due = True
        if reset and self.since_best >= reset * (self.resets + 1):
            self.resets += 1
            self.down_is_due = False
            self.gear, self.cooldown = 1, 0

    def shift_if_due(self):
        signal = self.signal(self.gear)
        if self.down_is_due:
            self.down_is_due = False
            self.gear, self.cooldown = max(1, self.gear - max(1, self.alerts)), 0
        elif signal > self.config.up_threshold and self.gear < len(self.gears):
            if self.config.hunting or self.signal(self.gear + 1) >= self.config.down_threshold:
                self.gear, self.cooldown, self.last_up = self.gear + 1, 0, self.finished
        elif (
            signal < self.config.down_threshold
            and self.gear > 1
            and (self.config.hunting or self.signal(self.gear - 1) <= self.config.up_threshold)
        ):
            self.gear, self.cooldown = self.gear - 1, 0

    def signal(self, gear):
        return sum(self.counts(gear)[-3:])

    def counts(self, gear):
        return [len(bucket) for bucket in self.buckets(gear)]

    def buckets(self, gear):
        """The episodes (their places) of each bucket, the shortest episode first, then the oldest."""
        length = self.gears[gear - 1][0]
        buckets = [[] for _ in range(self.config.buckets)]
        order = sorted(range(len(self.episodes)), key=lambda place: (len(self.episodes[place][0]), place))
        for place in order:
            for i in range(self.config.buckets):
                if self.number_of_chunks(place, length) > i:
                    buckets[i].append(place)
        return buckets

    def number_of_chunks(self, place, length):
        frames = len(self.episodes[place][0])
        return frames // length if self.config.depth == "absolute" else -(-frames // length)

    def chunks(self, place):
        """An episode's chunks, aligned to its end; the first one begins with it, or only whole ones count."""
        frames, length = self.episodes[place][0], self.gears[self.gear - 1][0]
        number = self.number_of_chunks(place, length)
        begins = [max(0, len(frames) - (number - i) * length) for i in range(number)]
        return [frames[begin : begin + length] for begin in begins]

    def draw(self, count, which, where):
        """The frames of so many chunks, chosen by two lists of numbers in [0, 1)."""
        warm = [bucket for bucket in self.buckets(self.gear) if bucket]
        if not 0 < count <= sum(map(len, warm)):
            return None
        shares = [count // len(warm)] * len(warm)
        for i in range(count % len(warm)):
            shares[len(warm) - 1 - i] += 1
        drawn = []
        for i, share in enumerate(shares):
            for _ in range(share):
                place = warm[i][int(which[len(drawn)] * len(warm[i]))]
                drawn.append(self.chunk_in_bucket(self.chunks(place), i, where[len(drawn)]))
        return drawn

    def chunk_in_bucket(self, chunks, bucket, number):
        total = self.config.buckets
        if self.config.depth == "absolute" or len(chunks) <= total:
            return chunks[bucket]
        mine = [chunk for c, chunk in enumerate(chunks) if c * total // len(chunks) == bucket]
        return mine[int(number * len(mine))]
