"""Choose the rows of a small log that has what the large one has: users with a history."""

import numpy as np
import pyarrow as pa

from penstock_dataprep.order.hashing import hash_tokens

ENOUGH_ROWS = 5  # of a user, to train on some and be tested on another
LARGEST_SHARE = 0.1  # of the rows, beyond which a user is taken last


def choose_rows(users: pa.Array, rows: int) -> np.ndarray:
    """Return the places, in order, of about `rows` rows: all those of some users, as many as fit.

    Users with ENOUGH_ROWS come first, by the hash of their token, then those with fewer, and those with most of the
    rows last. Rows without a user are left out unless there are no others; the last user may be cut off.
    """
    is_user = users.is_valid().to_numpy(zero_copy_only=False)
    if not is_user.any():
        return np.arange(min(rows, len(users)))
    places = np.flatnonzero(is_user)
    encoded = users.filter(pa.array(is_user)).dictionary_encode()
    codes = encoded.indices.to_numpy(zero_copy_only=False)
    counts = np.bincount(codes, minlength=len(encoded.dictionary))
    is_whale = counts > max(ENOUGH_ROWS, LARGEST_SHARE * rows)
    order = np.lexsort((hash_tokens(encoded.dictionary), -np.minimum(counts, ENOUGH_ROWS), is_whale))
    ends = np.cumsum(counts[order])
    whole = int(np.searchsorted(ends, rows, side="right"))
    is_taken = np.isin(codes, order[:whole])
    if whole < len(order):
        left = rows - int(ends[whole - 1]) if whole else rows
        is_taken[np.flatnonzero(codes == order[whole])[:left]] = True
    found: np.ndarray = places[is_taken]
    return found
