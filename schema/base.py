"""Building blocks of the schema: who sees what, which Python class stands behind which type, result unions.

Schema modules declare; they hold no rules. A resolver returns model instances or frozen dataclasses of the
services; :func:`exposes` records which GraphQL type such a class is shown as.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Final, Generic, NewType, TypeVar, get_args, get_origin, get_type_hints
from uuid import UUID

import strawberry
from strawberry.types.field import StrawberryField

from auth.principals import View
from core import ids, money
from core.errors import BusinessError
from core.geo import Crs, Point
from resolvers import base as resolving
from services import errors

T = TypeVar("T")

ALL: Final = frozenset(View)
C, M, R, A, P, D = View.CONSUMER, View.MERCHANT, View.RIDER, View.ADMIN, View.PARTNER, View.DEVICE

python_types: Final[dict[type, str]] = {}
"""Python class → GraphQL type name, for unions and interfaces."""

type_views: Final[dict[str, frozenset[View]]] = {}
"""GraphQL object or interface type name → views it exists in."""

type_weights: Final[dict[str, int]] = {}
"""GraphQL object type name → what one object costs, where that is not 1."""

shared_types: Final[set[str]] = set()
"""Names of the object types whose plain fields depend on the object alone: see :func:`exposes`."""


def exposes(
    *classes: type, views: frozenset[View] | set[View] = ALL, shared: bool = False, weight: int = 1
) -> Callable[[type[T]], type[T]]:
    """Class decorator above ``@strawberry.type``: the views that know the type, and the classes shown as it.

    ``shared``: everybody of one view and language who may see an object sees the same in those of its fields that
    cannot know the caller, because they are read from the object or computed of nothing else. A field whose resolver
    takes ``info`` says so itself (:func:`shared`). What is not declared is per viewer: subscribers who select it
    share no execution with anybody else. ``weight``: see :mod:`schema.costs`.
    """

    def declare(cls: type[T]) -> type[T]:
        definition: Any = cls.__dict__["__strawberry_definition__"]
        type_views[definition.name] = frozenset(views)
        if shared:
            shared_types.add(definition.name)
        if weight != 1:
            type_weights[definition.name] = weight
        for python_type in classes:
            python_types[python_type] = definition.name
        return cls

    return declare


def built_by(build: Callable[[Mapping[str, Any]], object]) -> Callable[[type[T]], type[T]]:
    """Class decorator above ``@strawberry.input``: resolvers get what ``build`` makes of the coerced fields, by their
    names in the schema. For inputs that come by the thousand: converting field by field costs Strawberry 10 µs each."""

    def declare(cls: type[T]) -> type[T]:
        def from_input(_type: type, given: Mapping[str, Any], _context: object) -> object:
            return build(given)

        definition: Any = cls.__dict__["__strawberry_definition__"]
        definition.from_input = from_input
        return cls

    return declare


def only(*views: View) -> dict[str, Any]:
    """``metadata`` of a field that only these views may see; without it the field has its type's views."""
    return {"views": frozenset(views)}


def _declared(views: Sequence[View], needs: Sequence[str] | None) -> dict[str, Any]:
    return (only(*views) if views else {}) | ({} if needs is None else {"needs": tuple(needs)})


def shared(field: Any, *views: View) -> Any:
    """Declare that ``field``, although its resolver takes ``info``, depends on the caller by its view alone.

    With ``views``: in these; in the others it is per viewer.
    """
    field.metadata = {**field.metadata, "shared": frozenset(views or ALL)}
    return field


def sized(size: int, field: Any = None) -> Any:
    """Declare how many objects the list of ``field`` has at most, as a rule (``@listSize(assumedSize:)``).

    An answer that has more is given all the same, and costs more than was asked for. A list that has no size and no
    argument ``first`` is taken for one of :data:`schema.costs.ASSUMED_SIZE`.
    """
    field = strawberry.field() if field is None else field
    field.metadata = {**field.metadata, "list_size": size}
    return field


Int64 = NewType("Int64", int)


def _parse_int64(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError("Int64 must be an integer or a string of digits")
    number = int(value)
    if not -(2**63) <= number < 2**63:
        raise ValueError("Int64 cannot represent a value outside 64 bits")
    return number


Int64Scalar: Any = strawberry.scalar(
    name="Int64",
    description="64-bit signed integer. Accepts a number or a string of digits.",
    serialize=lambda value: value,
    parse_value=_parse_int64,
)


def node_id(type_name: str, attribute: str = "id") -> Any:
    """Field ``id: ID!`` whose value is the public id of the key in ``attribute``."""

    def resolve(root: Any) -> strawberry.ID:
        return strawberry.ID(ids.encode(type_name, getattr(root, attribute)))

    return strawberry.field(resolver=resolve, metadata=_declared((), (attribute,)))


def computed(
    resolver: Callable[..., Any], *views: View, needs: Sequence[str] | None = None, description: str | None = None
) -> Any:
    """Field whose value ``resolver`` computes; only for ``views`` when some are named.

    ``needs``: the attributes of the object that it looks at, so that those are read from the database. Without it
    all are.
    """
    return strawberry.field(resolver=resolver, description=description, metadata=_declared(views, needs))


@dataclasses.dataclass(frozen=True, slots=True)
class Projected:
    """Mark of a resolver (its attribute ``projection``) whose object is made of attributes of the root, by field name.

    It is null when the attribute ``null_if`` is None.
    """

    attributes: dict[str, str]
    null_if: str


def money_field(attribute: str, **options: Any) -> Any:
    """Field of type Money from ``attribute`` (minor units, may be None) and ``currency`` of the object."""

    def resolve(root: Any) -> Any:
        amount = getattr(root, attribute)
        return None if amount is None else money.Money(amount, root.currency)

    resolve.projection = Projected({"amount": attribute, "currency": "currency"}, attribute)  # pyright: ignore[reportFunctionMemberAccess]
    return strawberry.field(resolver=resolve, metadata=_declared((), (attribute, "currency")), **options)


strawberry.enum(View, description="A surface of the product: decides which contract a token is for.")
strawberry.enum(Crs, description="Coordinate reference system.")


@strawberry.interface(description="Anything with a global id.")
class Node:
    id: strawberry.ID


@strawberry.interface(description="A refusal that the caller can act on. Select it in every result.")
class UserError:
    code: str
    message: str


type_views["Node"] = type_views["UserError"] = ALL


@exposes(money.Money, shared=True, weight=0)
@strawberry.type
class Money:
    amount: Int64 = strawberry.field(description="Minor units (fen for CNY).")
    currency: str = strawberry.field(description="ISO 4217.")


@exposes(Point, shared=True, weight=0)
@strawberry.type
class GeoPoint:
    latitude: float
    longitude: float
    crs: Crs


@strawberry.input
class GeoPointInput:
    latitude: float
    longitude: float
    crs: Crs = Crs.GCJ02

    def to_point(self) -> Point:
        """As it came: services check the range and convert the CRS."""
        return Point(self.latitude, self.longitude, self.crs)


@exposes(resolving.PageInfo, shared=True, weight=0)
@strawberry.type
class PageInfo:
    has_next_page: bool
    has_previous_page: bool
    start_cursor: str | None
    end_cursor: str | None


@strawberry.type
class Edge(Generic[T]):
    cursor: str
    node: T


@strawberry.type
class Connection(Generic[T]):
    edges: list[Edge[T]] = sized(100)
    nodes: list[T] = sized(100)
    page_info: PageInfo


@strawberry.type(description="Updates of a feed for a client that polls it, in order.")
class FeedPage(Generic[T]):
    updates: list[T] = sized(
        1,
        strawberry.field(
            description="Events after the cursor, fewer than asked for where some are not for the caller; "
            "or one snapshot."
        ),
    )
    cursor: str = strawberry.field(description="The `after` of the next poll, also when there are no updates.")
    has_more: bool = strawberry.field(description="More updates are there already: poll again at once.")


error_types: Final[dict[type[BusinessError], type]] = {}
"""Business error → the Strawberry type that shows it."""


def _fact_field(name: str, annotation: Any) -> tuple[Any, Any]:
    """``(annotation, field)`` of one fact of an error."""
    optional = type(None) in get_args(annotation) and get_origin(annotation) is not Annotated
    bare = next(a for a in get_args(annotation) if a is not type(None)) if optional else annotation
    if get_origin(bare) is Annotated:
        base, type_name = get_args(bare)
        assert base is UUID

        def resolve(root: Any) -> Any:
            return ids.encode(type_name, getattr(root, name))

        return strawberry.ID, strawberry.field(resolver=resolve)
    if bare is money.Money:
        return Money, strawberry.field()
    return annotation, strawberry.field()


def _error_type(error: type[BusinessError]) -> type:
    hints = get_type_hints(error, include_extras=True)
    annotations: dict[str, Any] = {}
    namespace: dict[str, Any] = {"__doc__": error.__doc__, "__module__": __name__}
    for fact in dataclasses.fields(error):  # pyright: ignore[reportArgumentType]
        annotations[fact.name], namespace[fact.name] = _fact_field(fact.name, hints[fact.name])
    namespace["__annotations__"] = annotations
    cls = type(error.__name__, (UserError,), namespace)
    written = (error.__doc__ or "").strip()
    shown = strawberry.type(cls, description=None if written.startswith(f"{error.__name__}(") else written)
    type_views[error.__name__] = ALL
    return shown


def declare_errors() -> None:
    """Make a GraphQL type for every business error; called by ``schema.enums``, whose enums they use."""
    for error in errors.CATALOGUE:
        error_types[error] = _error_type(error)


COMMON: Final = (errors.NotFound, errors.InvalidInput, errors.PermissionDenied)


def result(name: str, success: type | list[type], *refusals: type[BusinessError]) -> Any:
    """``graphql_type`` of a mutation: the union ``name`` of its success type(s) and its errors.

    NotFound, InvalidInput and PermissionDenied are in every result; name the others.
    """
    from strawberry.types.union import StrawberryUnion  # its constructor is the only dynamic way

    members = [*(success if isinstance(success, list) else [success])]
    members += [error_types[error] for error in dict.fromkeys((*COMMON, *refusals))]
    return Annotated[_union_of(members), StrawberryUnion(name)]


def _union_of(members: list[type]) -> Any:
    from typing import Union

    return Union[tuple(members)]  # noqa: UP007


MUTATION_WEIGHT: Final = 10


def mutation(
    result_type: Any, *views: View, description: str | None = None, weight: int = MUTATION_WEIGHT
) -> Callable[[Callable[..., Any]], Any]:
    """Decorator of a mutation field: its result union, the views that have it, and what calling it costs."""

    def declare(method: Callable[..., Any]) -> StrawberryField:
        return strawberry.mutation(
            method,
            graphql_type=result_type,
            metadata={**only(*views), "weight": weight},
            description=description or method.__doc__,
        )

    return declare


def query(
    graphql_type: Any, *views: View, needs: Sequence[str] | None = None, description: str | None = None
) -> Callable[[Callable[..., Any]], Any]:
    """Decorator of a query field, or of a field with arguments: its type, the views that have it, what it ``needs``."""

    def declare(method: Callable[..., Any]) -> StrawberryField:
        return strawberry.field(
            method,
            graphql_type=graphql_type,
            metadata=_declared(views, needs),
            description=description or method.__doc__,
        )

    return declare


def subscription(
    graphql_type: Any, *views: View, description: str | None = None
) -> Callable[[Callable[..., Any]], Any]:
    """Decorator of a subscription field: its type and the views that have it."""

    def declare(method: Callable[..., Any]) -> Any:
        return strawberry.subscription(
            method, graphql_type=graphql_type, metadata=only(*views), description=description or method.__doc__
        )

    return declare
