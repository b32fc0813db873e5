"""Names for custom objects: scopes, the process-wide registry, serialisation by name."""

from befit.objects.registry import get_custom_objects, register
from befit.objects.scopes import CustomObjectScope, custom_object_scope, in_scope, scope_initializer
from befit.objects.serialization import (
    deserialize,
    deserialize_keras_object,
    serialize,
    serialize_keras_object,
)

__all__ = [
    "CustomObjectScope",
    "custom_object_scope",
    "deserialize",
    "deserialize_keras_object",
    "get_custom_objects",
    "in_scope",
    "register",
    "scope_initializer",
    "serialize",
    "serialize_keras_object",
]
