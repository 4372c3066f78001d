"""Strict settings in the manner of pydantic's extra='forbid', without pydantic."""


class ValidationError(ValueError):
    """What pydantic raises: a ValueError whose first line counts the errors."""


class FieldInfo:
    """A field as `model_fields` tells it; defaults are not told, as they are no contract."""

    def __init__(self, validation_alias=None):
        self.alias = None
        self.validation_alias = validation_alias


class StrictModel:
    """Fields are {name: (kind, default)}; a kind is a type's name, 'x?' where None may stand, or words 'a|b'."""

    FIELDS: dict = {}
    ALIASES: dict = {}  # other names of fields

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        cls.model_fields = {name: FieldInfo() for name in cls.FIELDS}
        for alias, name in cls.ALIASES.items():
            if alias != name:
                cls.model_fields[name] = FieldInfo(validation_alias=alias)

    def __init__(self, **given):
        given = {self.ALIASES.get(name, name): value for name, value in given.items()}
        for name in given:
            if name not in self.FIELDS:
                refuse(type(self).__name__, name, "Extra inputs are not permitted [type=extra_forbidden]")
        for name, (kind, default) in self.FIELDS.items():
            value = given.get(name, default() if callable(default) else default)
            if name in given:
                check(type(self).__name__, name, kind, value)
            setattr(self, name, value)


def refuse(cls, name, why):
    raise ValidationError(f"1 validation error for {cls}: {name}: {why}")


def check(cls, name, kind, value):
    if kind == "any" or (kind.endswith("?") and value is None):
        return
    kind = kind.removesuffix("?")
    kinds = {"int": int, "float": (int, float), "bool": bool, "str": str, "dict": dict, "list": list}
    if kind in kinds:
        is_right = isinstance(value, kinds[kind]) and (kind == "bool" or not isinstance(value, bool))
    elif "|" in kind:
        is_right = value in kind.split("|")
    else:
        is_right = any(one.__name__ == kind for one in type(value).__mro__)
    if not is_right:
        refuse(cls, name, f"Input should be {kind}, found {type(value).__name__} {value!r:.40}")
