"""Tables and images → arrays, with the encoders that are saved with the model. NumPy in, NumPy out.

read_table("adult.csv")       table.py      a Table: named columns, each row with its line in the file
  delimited.py, columns.py                  files of rows with a delimiter; numbers, or text by codes
infer_schema(table)           schema.py     what each column is, what is dropped, and why
TableEncoder.fit(table)       encode.py     columns → float32 features, by the training rows alone
  numeric.py, category.py, notes.py         one kind of column each; what was met while encoding
TargetEncoder.fit(table, …)   target.py     classes or a number → what a network learns, and back
  comparison.py                             targets such as "num > 0", labels renamed
random_split_indices(…)       split.py      rows to train on, rows held out
read_idx(path)                images.py     images in IDX files
load_builtin("digits")        builtin.py    data that need no files
fingerprint(data)             fingerprint.py  a hash of contents, names and dtypes
"""

from chainrule.data.builtin import BUILTINS, load_builtin
from chainrule.data.columns import MISSING, NumberColumn, TextColumn
from chainrule.data.comparison import Comparison, parse_label_map, parse_target
from chainrule.data.encode import Encoded, TableEncoder
from chainrule.data.fingerprint import fingerprint
from chainrule.data.images import LabelledImages, read_idx, read_idx_folder, read_idx_images
from chainrule.data.notes import ColumnNote
from chainrule.data.schema import KINDS, ColumnSchema, Schema, infer_schema
from chainrule.data.split import generator, num_held_out, random_split_indices, stratified_split_indices
from chainrule.data.table import Table, aligned, read_table
from chainrule.data.target import TargetEncoder

__all__ = [
    # tables
    "read_table", "Table", "NumberColumn", "TextColumn", "MISSING", "aligned",
    # what the columns are
    "infer_schema", "Schema", "ColumnSchema", "KINDS",
    # features and targets
    "TableEncoder", "Encoded", "ColumnNote", "TargetEncoder", "Comparison", "parse_target", "parse_label_map",
    # parts of the rows
    "random_split_indices", "stratified_split_indices", "num_held_out", "generator",
    # images, data that need no files, fingerprints
    "read_idx", "read_idx_images", "read_idx_folder", "LabelledImages", "load_builtin", "BUILTINS", "fingerprint",
]  # fmt: skip
