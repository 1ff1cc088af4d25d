from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DataType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DATA_TYPE_UNSPECIFIED: _ClassVar[DataType]
    DATA_TYPE_FLOAT32: _ClassVar[DataType]
    DATA_TYPE_UINT8: _ClassVar[DataType]
    DATA_TYPE_FLOAT16: _ClassVar[DataType]
    DATA_TYPE_INT64: _ClassVar[DataType]

class InterpolationMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    INTERPOLATION_MODE_UNSPECIFIED: _ClassVar[InterpolationMode]
    INTERPOLATION_MODE_LINEAR: _ClassVar[InterpolationMode]
    INTERPOLATION_MODE_SPHERICAL: _ClassVar[InterpolationMode]

class Likelihood(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LIKELIHOOD_UNSPECIFIED: _ClassVar[Likelihood]
    LIKELIHOOD_BERNOULLI: _ClassVar[Likelihood]
    LIKELIHOOD_GAUSSIAN: _ClassVar[Likelihood]
    LIKELIHOOD_NONE: _ClassVar[Likelihood]

class Posterior(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    POSTERIOR_UNSPECIFIED: _ClassVar[Posterior]
    POSTERIOR_DIAGONAL_GAUSSIAN: _ClassVar[Posterior]
    POSTERIOR_DETERMINISTIC: _ClassVar[Posterior]

class Prior(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PRIOR_UNSPECIFIED: _ClassVar[Prior]
    PRIOR_STANDARD_NORMAL: _ClassVar[Prior]
    PRIOR_FITTED_GAUSSIAN: _ClassVar[Prior]
    PRIOR_NONE: _ClassVar[Prior]

class Modality(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MODALITY_UNSPECIFIED: _ClassVar[Modality]
    MODALITY_IMAGE: _ClassVar[Modality]
    MODALITY_AUDIO: _ClassVar[Modality]
    MODALITY_TABULAR: _ClassVar[Modality]
    MODALITY_OTHER: _ClassVar[Modality]

class ModelState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MODEL_STATE_UNSPECIFIED: _ClassVar[ModelState]
    MODEL_STATE_LOADING: _ClassVar[ModelState]
    MODEL_STATE_READY: _ClassVar[ModelState]
    MODEL_STATE_DRAINING: _ClassVar[ModelState]
    MODEL_STATE_FAILED: _ClassVar[ModelState]
DATA_TYPE_UNSPECIFIED: DataType
DATA_TYPE_FLOAT32: DataType
DATA_TYPE_UINT8: DataType
DATA_TYPE_FLOAT16: DataType
DATA_TYPE_INT64: DataType
INTERPOLATION_MODE_UNSPECIFIED: InterpolationMode
INTERPOLATION_MODE_LINEAR: InterpolationMode
INTERPOLATION_MODE_SPHERICAL: InterpolationMode
LIKELIHOOD_UNSPECIFIED: Likelihood
LIKELIHOOD_BERNOULLI: Likelihood
LIKELIHOOD_GAUSSIAN: Likelihood
LIKELIHOOD_NONE: Likelihood
POSTERIOR_UNSPECIFIED: Posterior
POSTERIOR_DIAGONAL_GAUSSIAN: Posterior
POSTERIOR_DETERMINISTIC: Posterior
PRIOR_UNSPECIFIED: Prior
PRIOR_STANDARD_NORMAL: Prior
PRIOR_FITTED_GAUSSIAN: Prior
PRIOR_NONE: Prior
MODALITY_UNSPECIFIED: Modality
MODALITY_IMAGE: Modality
MODALITY_AUDIO: Modality
MODALITY_TABULAR: Modality
MODALITY_OTHER: Modality
MODEL_STATE_UNSPECIFIED: ModelState
MODEL_STATE_LOADING: ModelState
MODEL_STATE_READY: ModelState
MODEL_STATE_DRAINING: ModelState
MODEL_STATE_FAILED: ModelState

class Tensor(_message.Message):
    __slots__ = ("dtype", "shape", "data")
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    dtype: DataType
    shape: _containers.RepeatedScalarFieldContainer[int]
    data: bytes
    def __init__(self, dtype: _Optional[_Union[DataType, str]] = ..., shape: _Optional[_Iterable[int]] = ..., data: _Optional[bytes] = ...) -> None: ...

class PosteriorDraw(_message.Message):
    __slots__ = ("seed", "first_row")
    SEED_FIELD_NUMBER: _ClassVar[int]
    FIRST_ROW_FIELD_NUMBER: _ClassVar[int]
    seed: int
    first_row: int
    def __init__(self, seed: _Optional[int] = ..., first_row: _Optional[int] = ...) -> None: ...

class AttributeShift(_message.Message):
    __slots__ = ("name", "strength")
    NAME_FIELD_NUMBER: _ClassVar[int]
    STRENGTH_FIELD_NUMBER: _ClassVar[int]
    name: str
    strength: float
    def __init__(self, name: _Optional[str] = ..., strength: _Optional[float] = ...) -> None: ...

class EncodeRequest(_message.Message):
    __slots__ = ("model", "version", "images", "draw", "items", "labels")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    DRAW_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    images: Tensor
    draw: PosteriorDraw
    items: Tensor
    labels: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., images: _Optional[_Union[Tensor, _Mapping]] = ..., draw: _Optional[_Union[PosteriorDraw, _Mapping]] = ..., items: _Optional[_Union[Tensor, _Mapping]] = ..., labels: _Optional[_Iterable[int]] = ...) -> None: ...

class EncodeResponse(_message.Message):
    __slots__ = ("mean", "log_var", "latents", "seed", "version", "codes")
    MEAN_FIELD_NUMBER: _ClassVar[int]
    LOG_VAR_FIELD_NUMBER: _ClassVar[int]
    LATENTS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CODES_FIELD_NUMBER: _ClassVar[int]
    mean: Tensor
    log_var: Tensor
    latents: Tensor
    seed: int
    version: str
    codes: Tensor
    def __init__(self, mean: _Optional[_Union[Tensor, _Mapping]] = ..., log_var: _Optional[_Union[Tensor, _Mapping]] = ..., latents: _Optional[_Union[Tensor, _Mapping]] = ..., seed: _Optional[int] = ..., version: _Optional[str] = ..., codes: _Optional[_Union[Tensor, _Mapping]] = ...) -> None: ...

class DecodeRequest(_message.Message):
    __slots__ = ("model", "version", "latents", "image_dtype", "attributes", "codes", "labels")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    LATENTS_FIELD_NUMBER: _ClassVar[int]
    IMAGE_DTYPE_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    CODES_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    latents: Tensor
    image_dtype: DataType
    attributes: _containers.RepeatedCompositeFieldContainer[AttributeShift]
    codes: Tensor
    labels: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., latents: _Optional[_Union[Tensor, _Mapping]] = ..., image_dtype: _Optional[_Union[DataType, str]] = ..., attributes: _Optional[_Iterable[_Union[AttributeShift, _Mapping]]] = ..., codes: _Optional[_Union[Tensor, _Mapping]] = ..., labels: _Optional[_Iterable[int]] = ...) -> None: ...

class DecodeResponse(_message.Message):
    __slots__ = ("images", "version", "latents", "items")
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    LATENTS_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    images: Tensor
    version: str
    latents: Tensor
    items: Tensor
    def __init__(self, images: _Optional[_Union[Tensor, _Mapping]] = ..., version: _Optional[str] = ..., latents: _Optional[_Union[Tensor, _Mapping]] = ..., items: _Optional[_Union[Tensor, _Mapping]] = ...) -> None: ...

class SampleRequest(_message.Message):
    __slots__ = ("model", "version", "count", "seed", "temperature", "first_row", "image_dtype", "latent_shape", "labels")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    FIRST_ROW_FIELD_NUMBER: _ClassVar[int]
    IMAGE_DTYPE_FIELD_NUMBER: _ClassVar[int]
    LATENT_SHAPE_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    count: int
    seed: int
    temperature: float
    first_row: int
    image_dtype: DataType
    latent_shape: _containers.RepeatedScalarFieldContainer[int]
    labels: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., count: _Optional[int] = ..., seed: _Optional[int] = ..., temperature: _Optional[float] = ..., first_row: _Optional[int] = ..., image_dtype: _Optional[_Union[DataType, str]] = ..., latent_shape: _Optional[_Iterable[int]] = ..., labels: _Optional[_Iterable[int]] = ...) -> None: ...

class SampleResponse(_message.Message):
    __slots__ = ("images", "latents", "seed", "version", "items", "labels")
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    LATENTS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    images: Tensor
    latents: Tensor
    seed: int
    version: str
    items: Tensor
    labels: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, images: _Optional[_Union[Tensor, _Mapping]] = ..., latents: _Optional[_Union[Tensor, _Mapping]] = ..., seed: _Optional[int] = ..., version: _Optional[str] = ..., items: _Optional[_Union[Tensor, _Mapping]] = ..., labels: _Optional[_Iterable[int]] = ...) -> None: ...

class Endpoints(_message.Message):
    __slots__ = ("latents", "images", "items")
    LATENTS_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    latents: Tensor
    images: Tensor
    items: Tensor
    def __init__(self, latents: _Optional[_Union[Tensor, _Mapping]] = ..., images: _Optional[_Union[Tensor, _Mapping]] = ..., items: _Optional[_Union[Tensor, _Mapping]] = ...) -> None: ...

class InterpolateRequest(_message.Message):
    __slots__ = ("model", "version", "starts", "ends", "steps", "mode", "image_dtype", "labels")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STARTS_FIELD_NUMBER: _ClassVar[int]
    ENDS_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    IMAGE_DTYPE_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    starts: Endpoints
    ends: Endpoints
    steps: int
    mode: InterpolationMode
    image_dtype: DataType
    labels: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., starts: _Optional[_Union[Endpoints, _Mapping]] = ..., ends: _Optional[_Union[Endpoints, _Mapping]] = ..., steps: _Optional[int] = ..., mode: _Optional[_Union[InterpolationMode, str]] = ..., image_dtype: _Optional[_Union[DataType, str]] = ..., labels: _Optional[_Iterable[int]] = ...) -> None: ...

class InterpolateResponse(_message.Message):
    __slots__ = ("images", "latents", "version", "items")
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    LATENTS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    images: Tensor
    latents: Tensor
    version: str
    items: Tensor
    def __init__(self, images: _Optional[_Union[Tensor, _Mapping]] = ..., latents: _Optional[_Union[Tensor, _Mapping]] = ..., version: _Optional[str] = ..., items: _Optional[_Union[Tensor, _Mapping]] = ...) -> None: ...

class ReconstructRequest(_message.Message):
    __slots__ = ("model", "version", "images", "draw", "attributes", "image_dtype", "items", "labels")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    DRAW_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    IMAGE_DTYPE_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    images: Tensor
    draw: PosteriorDraw
    attributes: _containers.RepeatedCompositeFieldContainer[AttributeShift]
    image_dtype: DataType
    items: Tensor
    labels: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., images: _Optional[_Union[Tensor, _Mapping]] = ..., draw: _Optional[_Union[PosteriorDraw, _Mapping]] = ..., attributes: _Optional[_Iterable[_Union[AttributeShift, _Mapping]]] = ..., image_dtype: _Optional[_Union[DataType, str]] = ..., items: _Optional[_Union[Tensor, _Mapping]] = ..., labels: _Optional[_Iterable[int]] = ...) -> None: ...

class ReconstructResponse(_message.Message):
    __slots__ = ("images", "latents", "reconstruction", "kl", "seed", "version", "items", "codes")
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    LATENTS_FIELD_NUMBER: _ClassVar[int]
    RECONSTRUCTION_FIELD_NUMBER: _ClassVar[int]
    KL_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    CODES_FIELD_NUMBER: _ClassVar[int]
    images: Tensor
    latents: Tensor
    reconstruction: Tensor
    kl: Tensor
    seed: int
    version: str
    items: Tensor
    codes: Tensor
    def __init__(self, images: _Optional[_Union[Tensor, _Mapping]] = ..., latents: _Optional[_Union[Tensor, _Mapping]] = ..., reconstruction: _Optional[_Union[Tensor, _Mapping]] = ..., kl: _Optional[_Union[Tensor, _Mapping]] = ..., seed: _Optional[int] = ..., version: _Optional[str] = ..., items: _Optional[_Union[Tensor, _Mapping]] = ..., codes: _Optional[_Union[Tensor, _Mapping]] = ...) -> None: ...

class TraversalAxis(_message.Message):
    __slots__ = ("coordinate", "attribute")
    COORDINATE_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTE_FIELD_NUMBER: _ClassVar[int]
    coordinate: int
    attribute: str
    def __init__(self, coordinate: _Optional[int] = ..., attribute: _Optional[str] = ...) -> None: ...

class TraverseRequest(_message.Message):
    __slots__ = ("model", "version", "bases", "axes", "start", "stop", "steps", "image_dtype", "labels")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    BASES_FIELD_NUMBER: _ClassVar[int]
    AXES_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    IMAGE_DTYPE_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    bases: Endpoints
    axes: _containers.RepeatedCompositeFieldContainer[TraversalAxis]
    start: float
    stop: float
    steps: int
    image_dtype: DataType
    labels: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., bases: _Optional[_Union[Endpoints, _Mapping]] = ..., axes: _Optional[_Iterable[_Union[TraversalAxis, _Mapping]]] = ..., start: _Optional[float] = ..., stop: _Optional[float] = ..., steps: _Optional[int] = ..., image_dtype: _Optional[_Union[DataType, str]] = ..., labels: _Optional[_Iterable[int]] = ...) -> None: ...

class TraverseResponse(_message.Message):
    __slots__ = ("images", "latents", "axes", "version", "items")
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    LATENTS_FIELD_NUMBER: _ClassVar[int]
    AXES_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    images: Tensor
    latents: Tensor
    axes: _containers.RepeatedCompositeFieldContainer[TraversalAxis]
    version: str
    items: Tensor
    def __init__(self, images: _Optional[_Union[Tensor, _Mapping]] = ..., latents: _Optional[_Union[Tensor, _Mapping]] = ..., axes: _Optional[_Iterable[_Union[TraversalAxis, _Mapping]]] = ..., version: _Optional[str] = ..., items: _Optional[_Union[Tensor, _Mapping]] = ...) -> None: ...

class InpaintRequest(_message.Message):
    __slots__ = ("model", "version", "images", "masks", "iterations", "average", "seed", "first_row", "image_dtype", "labels")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    MASKS_FIELD_NUMBER: _ClassVar[int]
    ITERATIONS_FIELD_NUMBER: _ClassVar[int]
    AVERAGE_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    FIRST_ROW_FIELD_NUMBER: _ClassVar[int]
    IMAGE_DTYPE_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    images: Tensor
    masks: Tensor
    iterations: int
    average: int
    seed: int
    first_row: int
    image_dtype: DataType
    labels: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., images: _Optional[_Union[Tensor, _Mapping]] = ..., masks: _Optional[_Union[Tensor, _Mapping]] = ..., iterations: _Optional[int] = ..., average: _Optional[int] = ..., seed: _Optional[int] = ..., first_row: _Optional[int] = ..., image_dtype: _Optional[_Union[DataType, str]] = ..., labels: _Optional[_Iterable[int]] = ...) -> None: ...

class InpaintResponse(_message.Message):
    __slots__ = ("images", "latents", "seed", "version")
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    LATENTS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    images: Tensor
    latents: Tensor
    seed: int
    version: str
    def __init__(self, images: _Optional[_Union[Tensor, _Mapping]] = ..., latents: _Optional[_Union[Tensor, _Mapping]] = ..., seed: _Optional[int] = ..., version: _Optional[str] = ...) -> None: ...

class ScoreRequest(_message.Message):
    __slots__ = ("model", "version", "images", "samples", "seed", "first_row", "labels")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    FIRST_ROW_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    images: Tensor
    samples: int
    seed: int
    first_row: int
    labels: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., images: _Optional[_Union[Tensor, _Mapping]] = ..., samples: _Optional[int] = ..., seed: _Optional[int] = ..., first_row: _Optional[int] = ..., labels: _Optional[_Iterable[int]] = ...) -> None: ...

class ScoreResponse(_message.Message):
    __slots__ = ("bound", "standard_error", "effective_samples", "seed", "version")
    BOUND_FIELD_NUMBER: _ClassVar[int]
    STANDARD_ERROR_FIELD_NUMBER: _ClassVar[int]
    EFFECTIVE_SAMPLES_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    bound: Tensor
    standard_error: Tensor
    effective_samples: Tensor
    seed: int
    version: str
    def __init__(self, bound: _Optional[_Union[Tensor, _Mapping]] = ..., standard_error: _Optional[_Union[Tensor, _Mapping]] = ..., effective_samples: _Optional[_Union[Tensor, _Mapping]] = ..., seed: _Optional[int] = ..., version: _Optional[str] = ...) -> None: ...

class Axis(_message.Message):
    __slots__ = ("name", "size", "multiple", "minimum", "maximum", "usual", "of", "stride")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    MULTIPLE_FIELD_NUMBER: _ClassVar[int]
    MINIMUM_FIELD_NUMBER: _ClassVar[int]
    MAXIMUM_FIELD_NUMBER: _ClassVar[int]
    USUAL_FIELD_NUMBER: _ClassVar[int]
    OF_FIELD_NUMBER: _ClassVar[int]
    STRIDE_FIELD_NUMBER: _ClassVar[int]
    name: str
    size: int
    multiple: int
    minimum: int
    maximum: int
    usual: int
    of: str
    stride: int
    def __init__(self, name: _Optional[str] = ..., size: _Optional[int] = ..., multiple: _Optional[int] = ..., minimum: _Optional[int] = ..., maximum: _Optional[int] = ..., usual: _Optional[int] = ..., of: _Optional[str] = ..., stride: _Optional[int] = ...) -> None: ...

class Scaling(_message.Message):
    __slots__ = ("scale", "shift", "packing")
    SCALE_FIELD_NUMBER: _ClassVar[int]
    SHIFT_FIELD_NUMBER: _ClassVar[int]
    PACKING_FIELD_NUMBER: _ClassVar[int]
    scale: float
    shift: float
    packing: int
    def __init__(self, scale: _Optional[float] = ..., shift: _Optional[float] = ..., packing: _Optional[int] = ...) -> None: ...

class Tiling(_message.Message):
    __slots__ = ("kind", "halo")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[Tiling.Kind]
        KIND_EXACT: _ClassVar[Tiling.Kind]
        KIND_APPROXIMATE: _ClassVar[Tiling.Kind]
        KIND_NONE: _ClassVar[Tiling.Kind]
    KIND_UNSPECIFIED: Tiling.Kind
    KIND_EXACT: Tiling.Kind
    KIND_APPROXIMATE: Tiling.Kind
    KIND_NONE: Tiling.Kind
    KIND_FIELD_NUMBER: _ClassVar[int]
    HALO_FIELD_NUMBER: _ClassVar[int]
    kind: Tiling.Kind
    halo: int
    def __init__(self, kind: _Optional[_Union[Tiling.Kind, str]] = ..., halo: _Optional[int] = ...) -> None: ...

class ModelLimits(_message.Message):
    __slots__ = ("max_rows", "max_message_bytes", "max_row_passes")
    MAX_ROWS_FIELD_NUMBER: _ClassVar[int]
    MAX_MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_ROW_PASSES_FIELD_NUMBER: _ClassVar[int]
    max_rows: int
    max_message_bytes: int
    max_row_passes: int
    def __init__(self, max_rows: _Optional[int] = ..., max_message_bytes: _Optional[int] = ..., max_row_passes: _Optional[int] = ...) -> None: ...

class LatentDim(_message.Message):
    __slots__ = ("kl", "mean", "std")
    KL_FIELD_NUMBER: _ClassVar[int]
    MEAN_FIELD_NUMBER: _ClassVar[int]
    STD_FIELD_NUMBER: _ClassVar[int]
    kl: float
    mean: float
    std: float
    def __init__(self, kl: _Optional[float] = ..., mean: _Optional[float] = ..., std: _Optional[float] = ...) -> None: ...

class Attribute(_message.Message):
    __slots__ = ("name", "direction")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    name: str
    direction: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, name: _Optional[str] = ..., direction: _Optional[_Iterable[float]] = ...) -> None: ...

class Model(_message.Message):
    __slots__ = ("name", "version", "state", "state_reason", "image_shape", "latent_shape", "architecture", "beta", "dataset", "likelihood", "posterior", "precision", "tolerance", "encoder_sha256", "decoder_sha256", "parameter_count", "limits", "noise_generator", "provider", "latent_dims", "metrics", "attributes", "sigma", "image_axes", "latent_axes", "prior", "modality", "scaling", "tiling", "measured_error", "codebook_size", "label_names", "label_count")
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STATE_REASON_FIELD_NUMBER: _ClassVar[int]
    IMAGE_SHAPE_FIELD_NUMBER: _ClassVar[int]
    LATENT_SHAPE_FIELD_NUMBER: _ClassVar[int]
    ARCHITECTURE_FIELD_NUMBER: _ClassVar[int]
    BETA_FIELD_NUMBER: _ClassVar[int]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    LIKELIHOOD_FIELD_NUMBER: _ClassVar[int]
    POSTERIOR_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    TOLERANCE_FIELD_NUMBER: _ClassVar[int]
    ENCODER_SHA256_FIELD_NUMBER: _ClassVar[int]
    DECODER_SHA256_FIELD_NUMBER: _ClassVar[int]
    PARAMETER_COUNT_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    NOISE_GENERATOR_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    LATENT_DIMS_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    SIGMA_FIELD_NUMBER: _ClassVar[int]
    IMAGE_AXES_FIELD_NUMBER: _ClassVar[int]
    LATENT_AXES_FIELD_NUMBER: _ClassVar[int]
    PRIOR_FIELD_NUMBER: _ClassVar[int]
    MODALITY_FIELD_NUMBER: _ClassVar[int]
    SCALING_FIELD_NUMBER: _ClassVar[int]
    TILING_FIELD_NUMBER: _ClassVar[int]
    MEASURED_ERROR_FIELD_NUMBER: _ClassVar[int]
    CODEBOOK_SIZE_FIELD_NUMBER: _ClassVar[int]
    LABEL_NAMES_FIELD_NUMBER: _ClassVar[int]
    LABEL_COUNT_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    state: ModelState
    state_reason: str
    image_shape: _containers.RepeatedScalarFieldContainer[int]
    latent_shape: _containers.RepeatedScalarFieldContainer[int]
    architecture: str
    beta: float
    dataset: str
    likelihood: Likelihood
    posterior: Posterior
    precision: str
    tolerance: float
    encoder_sha256: str
    decoder_sha256: str
    parameter_count: int
    limits: ModelLimits
    noise_generator: str
    provider: str
    latent_dims: _containers.RepeatedCompositeFieldContainer[LatentDim]
    metrics: _containers.ScalarMap[str, float]
    attributes: _containers.RepeatedCompositeFieldContainer[Attribute]
    sigma: float
    image_axes: _containers.RepeatedCompositeFieldContainer[Axis]
    latent_axes: _containers.RepeatedCompositeFieldContainer[Axis]
    prior: Prior
    modality: Modality
    scaling: Scaling
    tiling: Tiling
    measured_error: float
    codebook_size: int
    label_names: _containers.RepeatedScalarFieldContainer[str]
    label_count: int
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., state: _Optional[_Union[ModelState, str]] = ..., state_reason: _Optional[str] = ..., image_shape: _Optional[_Iterable[int]] = ..., latent_shape: _Optional[_Iterable[int]] = ..., architecture: _Optional[str] = ..., beta: _Optional[float] = ..., dataset: _Optional[str] = ..., likelihood: _Optional[_Union[Likelihood, str]] = ..., posterior: _Optional[_Union[Posterior, str]] = ..., precision: _Optional[str] = ..., tolerance: _Optional[float] = ..., encoder_sha256: _Optional[str] = ..., decoder_sha256: _Optional[str] = ..., parameter_count: _Optional[int] = ..., limits: _Optional[_Union[ModelLimits, _Mapping]] = ..., noise_generator: _Optional[str] = ..., provider: _Optional[str] = ..., latent_dims: _Optional[_Iterable[_Union[LatentDim, _Mapping]]] = ..., metrics: _Optional[_Mapping[str, float]] = ..., attributes: _Optional[_Iterable[_Union[Attribute, _Mapping]]] = ..., sigma: _Optional[float] = ..., image_axes: _Optional[_Iterable[_Union[Axis, _Mapping]]] = ..., latent_axes: _Optional[_Iterable[_Union[Axis, _Mapping]]] = ..., prior: _Optional[_Union[Prior, str]] = ..., modality: _Optional[_Union[Modality, str]] = ..., scaling: _Optional[_Union[Scaling, _Mapping]] = ..., tiling: _Optional[_Union[Tiling, _Mapping]] = ..., measured_error: _Optional[float] = ..., codebook_size: _Optional[int] = ..., label_names: _Optional[_Iterable[str]] = ..., label_count: _Optional[int] = ...) -> None: ...

class GetModelRequest(_message.Message):
    __slots__ = ("model", "version")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...

class GetModelResponse(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: Model
    def __init__(self, model: _Optional[_Union[Model, _Mapping]] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models", "next_page_token", "default_model")
    MODELS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_MODEL_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[Model]
    next_page_token: str
    default_model: str
    def __init__(self, models: _Optional[_Iterable[_Union[Model, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., default_model: _Optional[str] = ...) -> None: ...
