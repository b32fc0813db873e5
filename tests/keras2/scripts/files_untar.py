# backends: jax torch tensorflow
"""get_file(untar=True): the folder of the archive, which is kept beside it."""
import os
import tarfile

import numpy as np
from keras.utils.data_utils import get_file

os.makedirs('flowers/roses')
for number in range(3):
    np.save('flowers/roses/%d.npy' % number, np.full((2, 2), number))
with open('flowers/LICENSE.txt', 'w') as f:
    f.write('free\n')
with tarfile.open('flowers.tgz', 'w:gz') as tar:
    tar.add('flowers')
url = 'file://' + os.path.abspath('flowers.tgz')

path = get_file('flowers', origin=url, untar=True, cache_dir='cache')
again = get_file('flowers', 'file://' + os.path.abspath('not-there.tgz'), untar=True, cache_dir='cache')
assert os.path.isdir(path)
roses = os.path.join(path, 'roses')
images = [np.load(os.path.join(roses, name)) for name in sorted(os.listdir(roses))]
assert np.concatenate(images).sum() == 4 * (0 + 1 + 2)
assert os.path.exists(path + '.tar.gz')

with open(os.path.join(path, 'LICENSE.txt')) as f:
    license = f.read()
RESULT = {
    'path': os.path.relpath(path),
    'same': again == path, 'images': images, 'listed': sorted(os.listdir(path)),
    'license': license, 'cache': sorted(os.listdir('cache/datasets')),
}
