# backends: jax
"""tf_keras: shuffle=True gives each batch once an epoch; after stop an enqueuer starts again."""
from tf_keras.utils import GeneratorEnqueuer, OrderedEnqueuer, Sequence
import numpy as np


class Letters(Sequence):
    def __init__(self, text, size):
        self.text = text
        self.size = size

    def __len__(self):
        return len(self.text) // self.size

    def __getitem__(self, idx):
        return self.text[idx * self.size:(idx + 1) * self.size]


enqueuer = OrderedEnqueuer(Letters("abcdefghijkl", 2), shuffle=True)
runs = []
for run in range(2):
    enqueuer.start(workers=3, max_queue_size=4)
    batches = enqueuer.get()
    epochs = [[next(batches) for _ in range(6)] for _ in range(2)]
    enqueuer.stop()
    assert not enqueuer.is_running()
    runs.append([sorted(epoch) for epoch in epochs])
assert runs == [[["ab", "cd", "ef", "gh", "ij", "kl"]] * 2] * 2

queue_of = OrderedEnqueuer(Letters("abcdef", 3))
queue_of.start(workers=2, max_queue_size=10)
ordered = []
while queue_of.is_running() and len(ordered) < 4:
    ordered.append(queue_of.queue.get(block=True).get())
    queue_of.queue.task_done()
queue_of.stop()

finite = GeneratorEnqueuer((np.arange(n) for n in range(1, 6)))
finite.start(max_queue_size=2)
sums = [int(item.sum()) for item in finite.get()]
finite.stop()
assert sums == [0, 1, 3, 6, 10]

RESULT = {"runs": runs, "ordered": ordered, "sums": sums}
