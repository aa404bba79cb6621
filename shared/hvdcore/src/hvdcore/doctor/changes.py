"""What of a script for Horovod 0.28 on Keras 2 or PyTorch 1 is written otherwise today.

One table, which `hvdcore doctor --script` and the page `MIGRATING.md` of the Horovod build share.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["CHANGES", "SESSION_OPTIMIZER", "Change", "Use"]

SESSION_OPTIMIZER = "tensorflow.compat.v1.train.Optimizer"
"""What the name of an optimizer of `tf.train` is taken for; its methods are as they were."""


@dataclass(frozen=True)
class Use:
    """A name or a call in a script.

    Args:
        name: dotted, imports resolved: `tensorflow.keras.Model`, `model.fit`.
        line: from 1.
        is_call: it is called; else args and keywords are empty.
        args: positional arguments.
        keywords: arguments by name.
    """

    name: str
    line: int
    is_call: bool = False
    args: list[ast.expr] = field(default_factory=list)
    keywords: dict[str, ast.expr] = field(default_factory=dict)

    @property
    def method(self) -> str:
        """The last part of the name."""
        return self.name.rpartition(".")[2]

    @property
    def owner(self) -> str:
        """What the method is of, in lower case: `model` in `self.model.fit`."""
        return self.name.rpartition(".")[0].rpartition(".")[2].lower()

    def ending(self, place: int, keyword: str) -> str | None:
        """The end of a text argument, as far as it stands in the script; None if it does not."""
        value = self.args[place] if len(self.args) > place else self.keywords.get(keyword)
        if isinstance(value, ast.BinOp):
            value = value.right
        if isinstance(value, ast.JoinedStr) and value.values:
            value = value.values[-1]
        is_text = isinstance(value, ast.Constant) and isinstance(value.value, str)
        return value.value if is_text else None  # type: ignore[union-attr]


@dataclass(frozen=True)
class Change:
    """One row: what a script says, what it says today, why, and where the doctor sees it.

    Args:
        before: a line of an old script; it fails today, or warns and does another thing.
        after: what to write instead.
        why: one sentence.
        finds: whether a use is one of these.
    """

    before: str
    after: str
    why: str
    finds: Callable[[Use], bool]


def _is_keras_optimizer(use: Use) -> bool:
    parts = use.name.split(".")
    known = parts[0] in ("keras", "tensorflow", "tf_keras") and "optimizers" in parts
    return use.is_call and known and "legacy" not in parts and parts[-1][:1].isupper()


def _method(*names: str) -> Callable[[Use], bool]:
    return lambda use: use.is_call and "." in use.name and use.method in names


def _in_keras_backend(use: Use, *names: str) -> bool:
    return use.is_call and use.name.endswith(tuple(f"keras.backend.{name}" for name in names))


def _ends_otherwise(ending: str | None, *allowed: str) -> bool:
    return ending is not None and not ending.endswith(allowed)


def _without_initial_lr(use: Use) -> bool:
    names = ("LearningRateWarmupCallback", "LearningRateScheduleCallback")
    of_horovod = use.is_call and use.name.startswith("horovod.") and use.method in names
    return of_horovod and not use.args and "initial_lr" not in use.keywords


def _saves_only_weights(use: Use) -> bool:
    flag = use.keywords.get("save_weights_only")
    return (
        use.method in ("ModelCheckpoint", "BestModelCheckpoint")
        and isinstance(flag, ast.Constant)
        and flag.value is True
        and _ends_otherwise(use.ending(0, "filepath"), ".weights.h5")
    )


def _saves_into_folder(use: Use) -> bool:
    saves = use.is_call and use.method == "save" and "model" in use.owner
    return saves and _ends_otherwise(use.ending(0, "filepath"), ".keras", ".h5", ".hdf5")


def _of_optimizer(use: Use, *methods: str) -> bool:
    of_session = use.name.startswith(SESSION_OPTIMIZER)
    return use.is_call and use.method in methods and "opt" in use.owner and not of_session


_OF_TENSORFLOW_1 = (
    "app.", "assign", "enable_eager_execution", "get_variable", "gfile.", "global_variables",
    "global_variables_initializer", "local_variables_initializer", "logging.",
    "losses.sigmoid_cross_entropy", "losses.softmax_cross_entropy",
    "losses.sparse_softmax_cross_entropy", "placeholder", "random_normal", "random_uniform",
    "set_random_seed", "train.Saver", "train.MonitoredTrainingSession", "train.StopAtStepHook",
    "train.LoggingTensorHook", "train.get_global_step", "train.get_or_create_global_step",
    "trainable_variables", "truncated_normal", "variable_scope",
)  # fmt: skip


def _of_tensorflow_1(use: Use) -> bool:
    """A name that only TensorFlow 1 had right below `tf`."""
    module, _, name = use.name.partition(".")
    if module != "tensorflow":
        return False
    of_train = name.startswith("train.") and name.endswith("Optimizer")
    known = any(
        name == old or (old[-1] == "." and name.startswith(old)) for old in _OF_TENSORFLOW_1
    )
    return of_train or known


_FOLDERS_OF_LAYERS = (
    "core",
    "convolutional",
    "normalization",
    "pooling",
    "embeddings",
    "recurrent",
)


def _in_folder_of_layers(use: Use) -> bool:
    parts = use.name.split(".")
    of_keras = parts[:2] == ["keras", "layers"] or parts[:3] == ["tensorflow", "keras", "layers"]
    return of_keras and any(part in _FOLDERS_OF_LAYERS for part in parts[2:-1])


CHANGES = (
    Change(
        "opt = tf.keras.optimizers.legacy.SGD(0.1)",
        "opt = tf.keras.optimizers.SGD(0.1)",
        "Keras 3 has no legacy optimizers; Horovod wraps all others.",
        lambda use: ".optimizers.legacy." in use.name,
    ),
    Change(
        "opt = tf.keras.optimizers.SGD(lr=0.1)",
        "opt = tf.keras.optimizers.SGD(learning_rate=0.1)",
        "The short name is gone.",
        lambda use: _is_keras_optimizer(use) and "lr" in use.keywords,
    ),
    Change(
        "opt = tf.keras.optimizers.SGD(0.1, decay=1e-4)",
        "opt = tf.keras.optimizers.SGD("
        "tf.keras.optimizers.schedules.InverseTimeDecay(0.1, 1, 1e-4))",
        "Keras 3 warns and ignores `decay`: the rate would stay as it is. This schedule is what "
        "`decay` did.",
        lambda use: _is_keras_optimizer(use) and "decay" in use.keywords,
    ),
    Change(
        "hvd_tf.broadcast_variables(opt.variables(), root_rank=0)",
        "hvd_tf.broadcast_variables(opt.variables, root_rank=0)",
        "It is a property of Keras 3's optimizers; those of `tf.compat.v1.train` still have a "
        "method.",
        lambda use: _of_optimizer(use, "variables") and not use.args,
    ),
    Change(
        "old = opt.get_weights()",
        "old = [v.numpy() for v in opt.variables]",
        "Keras 3's optimizers have no `get_weights`. To set them: `v.assign(value)` for each "
        "variable.",
        lambda use: _of_optimizer(use, "get_weights", "set_weights"),
    ),
    Change(
        "tf.keras.backend.set_value(opt.lr, 0.05)",
        "opt.learning_rate = 0.05",
        "Keras 3's plain optimizers have no `lr`, and its own backend no `set_value`. To read "
        "it: `float(opt.learning_rate)`.",
        lambda use: _in_keras_backend(use, "set_value", "get_value"),
    ),
    Change(
        "opt.lr.assign(0.05)",
        "opt.learning_rate = 0.05",
        "Keras 3's plain optimizers have no `lr`. Elastic scripts say it in their reset callback, "
        "which runs when hosts have come or gone.",
        lambda use: use.is_call and use.name.endswith(".lr.assign"),
    ),
    Change(
        "opt.minimize(loss, model.trainable_variables)",
        "with tf.GradientTape() as tape: value = loss()\n"
        "opt.apply(tape.gradient(value, model.trainable_variables), model.trainable_variables)",
        "Keras 3's optimizers have no `minimize`; those of `tf.compat.v1.train` still do.",
        lambda use: _of_optimizer(use, "minimize"),
    ),
    Change(
        'model.compile(opt, "mse", experimental_run_tf_function=False)',
        'model.compile(opt, "mse")',
        "It was needed so that Horovod saw the gradients; now it is no argument.",
        lambda use: use.is_call and "experimental_run_tf_function" in use.keywords,
    ),
    Change(
        "model.fit_generator(batches, steps_per_epoch=1)",
        "model.fit(batches, steps_per_epoch=1, shuffle=False)",
        "`fit`, `evaluate` and `predict` take generators; `fit` warns that it cannot shuffle one.",
        _method("fit_generator", "evaluate_generator", "predict_generator"),
    ),
    Change(
        "model.fit(x, y, workers=2, use_multiprocessing=True)",
        "model.fit(x, y)",
        "They are arguments of `keras.utils.PyDataset`, which was `Sequence`.",
        lambda use: (
            _method("fit", "evaluate", "predict")(use)
            and not {"workers", "use_multiprocessing", "max_queue_size"}.isdisjoint(use.keywords)
        ),
    ),
    Change(
        "from keras.preprocessing.image import ImageDataGenerator",
        "from tensorflow.keras.preprocessing.image import ImageDataGenerator",
        "Of Keras 3's two names only TensorFlow's still has the generator; "
        "`keras.utils.image_dataset_from_directory` is what came after it.",
        lambda use: use.name == "keras.preprocessing.image.ImageDataGenerator",
    ),
    Change(
        "callback = hvd.callbacks.LearningRateWarmupCallback(warmup_epochs=5)",
        "callback = hvd.callbacks.LearningRateWarmupCallback(initial_lr=0.1, warmup_epochs=5)",
        "The rate to begin from must be given, also to LearningRateScheduleCallback (since "
        "Horovod 0.21).",
        _without_initial_lr,
    ),
    Change(
        'tf.keras.callbacks.ModelCheckpoint(folder + "/best.h5", save_weights_only=True)',
        'tf.keras.callbacks.ModelCheckpoint(folder + "/best.weights.h5", save_weights_only=True)',
        "Keras 3 takes no other ending for weights.",
        _saves_only_weights,
    ),
    Change(
        'model.save_weights(folder + "/best.h5")',
        'model.save_weights(folder + "/best.weights.h5")',
        "Keras 3 takes no other ending for weights.",
        lambda use: (
            _method("save_weights")(use)
            and _ends_otherwise(use.ending(0, "filepath"), ".weights.h5")
        ),
    ),
    Change(
        'model.save(folder + "/model")',
        'model.save(folder + "/model.keras")',
        "Keras 3 saves into one file. For TensorFlow Serving: `model.export(folder)`.",
        _saves_into_folder,
    ),
    Change(
        "tf.keras.backend.set_session(tf.compat.v1.Session())",
        "for gpu in tf.config.list_physical_devices('GPU')[:1]: "
        "tf.config.experimental.set_memory_growth(gpu, True)",
        "Keras 3 knows no session; what its ConfigProto said goes through `tf.config`.",
        lambda use: (
            _in_keras_backend(use, "set_session", "get_session")
            or use.name in ("tensorflow.ConfigProto", "tensorflow.Session")
        ),
    ),
    Change(
        "opt = tf.train.AdamOptimizer(0.1)",
        "opt = tf.compat.v1.train.AdamOptimizer(0.1)",
        "A name of TensorFlow 1: `import tensorflow.compat.v1 as tf` and "
        "`tf.disable_v2_behavior()` bring them all back but `tf.layers`, `tf.contrib` and "
        "estimators; Horovod wraps these optimizers.",
        _of_tensorflow_1,
    ),
    Change(
        "x = tf.layers.dense(x, 8)",
        "x = tf.keras.layers.Dense(8)(x)",
        "`tf.layers` is gone, also from `tf.compat.v1`.",
        lambda use: use.name.startswith(("tensorflow.layers.", "tensorflow.compat.v1.layers.")),
    ),
    Change(
        "weights = tf.contrib.layers.xavier_initializer()",
        "weights = tf.keras.initializers.GlorotUniform()",
        "`tf.contrib` ended with TensorFlow 1.",
        lambda use: use.name.startswith("tensorflow.contrib."),
    ),
    Change(
        "from tensorflow.keras.layers.core import Dense",
        "from tensorflow.keras.layers import Dense",
        "All layers are in `keras.layers`.",
        _in_folder_of_layers,
    ),
    Change(
        "from tensorflow.keras.utils.np_utils import to_categorical",
        "from tensorflow.keras.utils import to_categorical",
        "`keras.utils.np_utils` is gone.",
        lambda use: use.name.endswith("keras.utils.np_utils") or ".utils.np_utils." in use.name,
    ),
    Change(
        "found = model.predict_classes(x)",
        "found = model.predict(x).argmax(axis=-1)",
        "`predict_classes` and `predict_proba` are gone since TensorFlow 2.6.",
        lambda use: "model" in use.owner and _method("predict_classes", "predict_proba")(use),
    ),
    Change(
        "tf.keras.mixed_precision.experimental.set_policy('mixed_float16')",
        "tf.keras.mixed_precision.set_global_policy('mixed_float16')",
        "No longer experimental.",
        lambda use: "mixed_precision.experimental." in use.name,
    ),
    Change(
        "est = tf.estimator.Estimator(model_fn)",
        "model.fit(x, y, callbacks=[hvd.callbacks.BroadcastGlobalVariablesCallback(0)])",
        "TensorFlow 2.16 and later have no estimators.",
        lambda use: use.name.startswith("tensorflow.estimator."),
    ),
    Change(
        'state = torch.load(folder + "/checkpoint.pt")',
        'state = torch.load(folder + "/checkpoint.pt", weights_only=False)',
        "Since PyTorch 2.6 only tensors and plain values are read unless you say so; do so only "
        "for files that you trust.",
        lambda use: use.is_call and use.name == "torch.load" and "weights_only" not in use.keywords,
    ),
    Change(
        "schedule = torch.optim.lr_scheduler.StepLR(torch_opt, 1, verbose=True)",
        "schedule = torch.optim.lr_scheduler.StepLR(torch_opt, 1)",
        "PyTorch's schedules no longer print; `schedule.get_last_lr()` tells the rate.",
        lambda use: ".lr_scheduler." in use.name and "verbose" in use.keywords,
    ),
    Change(
        "import horovod.mxnet as hvd",
        "import horovod.numpy as hvd",
        "There is no MXNet any more; this build has `horovod.numpy`, `torch`, `tensorflow`, "
        "`keras`, `jax`.",
        lambda use: use.name.startswith("horovod.mxnet"),
    ),
)
"""In the order of the page."""
