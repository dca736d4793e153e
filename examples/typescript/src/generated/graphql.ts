/* eslint-disable */
/** Internal type. DO NOT USE DIRECTLY. */
type Exact<T extends { [key: string]: unknown }> = { [K in keyof T]: T[K] };
/** Internal type. DO NOT USE DIRECTLY. */
export type Incremental<T> = T | { [P in keyof T]?: P extends ' $fragmentName' | '__typename' ? T[P] : never };
import type { DocumentTypeDecoration } from '@graphql-typed-document-node/core';
export type AddressInput = {
  contact: string;
  location: GeoPointInput;
  phone: string;
  text: string;
};

export type CreateQuoteInput = {
  lines: Array<QuoteLineInput>;
  location?: GeoPointInput | null | undefined;
  mode: FulfilmentMode;
  store: string;
};

/** Coordinate reference system. */
export type Crs =
  | 'GCJ02'
  | 'WGS84';

export type FulfilmentMode =
  | 'DELIVERY'
  | 'DINE_IN'
  | 'PICKUP';

export type GeoPointInput = {
  crs?: Crs;
  latitude: number;
  longitude: number;
};

export type OrderAction =
  | 'ACCEPT'
  | 'CANCEL'
  | 'COMPLETE'
  | 'DELIVER'
  | 'EXPIRE'
  | 'HAND_OVER'
  | 'MARK_READY'
  | 'PAY'
  | 'PICK_UP'
  | 'REFUND'
  | 'REJECT'
  | 'START_PREPARING';

export type OrderState =
  | 'ACCEPTED'
  | 'CANCELLED'
  | 'COMPLETED'
  | 'DELIVERED'
  | 'EXPIRED'
  | 'PAID'
  | 'PICKED_UP'
  | 'PLACED'
  | 'PREPARING'
  | 'READY'
  | 'REJECTED';

export type PlaceOrderInput = {
  address?: AddressInput | null | undefined;
  note?: string;
  quote: string;
  table?: string | null | undefined;
};

export type QuoteLineInput = {
  options?: Array<string>;
  quantity: number;
  sku: string;
};

/** Why ``after`` could not be resumed from. */
export type ResetReason =
  | 'CURSOR_INVALID'
  | 'EPOCH_CHANGED'
  | 'LOG_TRUNCATED';

export type UpdateKind =
  | 'EVENT'
  | 'SNAPSHOT';

export type CreateQuoteMutationVariables = Exact<{
  input: CreateQuoteInput;
}>;


export type CreateQuoteMutation = { createQuote:
    | { __typename: 'BelowMinimumOrder', code: string, message: string, minimum: { amount: number, currency: string } }
    | { __typename: 'InsufficientStock', name: string, available: number, code: string, message: string }
    | { __typename: 'InvalidInput', code: string, message: string }
    | { __typename: 'ItemUnavailable', code: string, message: string }
    | { __typename: 'ModeNotOffered', code: string, message: string }
    | { __typename: 'NotFound', code: string, message: string }
    | { __typename: 'OutOfDeliveryArea', code: string, message: string }
    | { __typename: 'PermissionDenied', code: string, message: string }
    | { __typename: 'Quote', id: string, expiresAt: string, total: { amount: number, currency: string } }
    | { __typename: 'StoreClosed', code: string, message: string }
   };

export type PlaceOrderMutationVariables = Exact<{
  input: PlaceOrderInput;
  key: string;
}>;


export type PlaceOrderMutation = { placeOrder:
    | { __typename: 'IdempotencyConflict', code: string, message: string }
    | { __typename: 'InsufficientStock', code: string, message: string }
    | { __typename: 'InvalidInput', code: string, message: string }
    | { __typename: 'ItemUnavailable', code: string, message: string }
    | { __typename: 'ModeNotOffered', code: string, message: string }
    | { __typename: 'NotFound', code: string, message: string }
    | { __typename: 'Order', id: string, number: string, state: OrderState, version: number, total: { amount: number, currency: string } }
    | { __typename: 'OutOfDeliveryArea', code: string, message: string }
    | { __typename: 'PermissionDenied', code: string, message: string }
    | { __typename: 'QuoteAlreadyUsed', code: string, message: string }
    | { __typename: 'QuoteExpired', code: string, message: string }
    | { __typename: 'StoreClosed', code: string, message: string }
   };

export type CancelOrderMutationVariables = Exact<{
  order: string;
  reason: string;
  key: string;
}>;


export type CancelOrderMutation = { cancelOrder:
    | { __typename: 'IdempotencyConflict', code: string, message: string }
    | { __typename: 'InvalidInput', code: string, message: string }
    | { __typename: 'NotFound', code: string, message: string }
    | { __typename: 'Order', id: string, number: string, state: OrderState, version: number, total: { amount: number, currency: string } }
    | { __typename: 'OrderActionNotAllowed', state: OrderState, availableActions: Array<OrderAction>, code: string, message: string }
    | { __typename: 'PermissionDenied', code: string, message: string }
   };

export type GetOrderQueryVariables = Exact<{
  id: string;
}>;


export type GetOrderQuery = { order: { id: string, number: string, state: OrderState, version: number, total: { amount: number, currency: string } } | null };

export type FollowOrderSubscriptionVariables = Exact<{
  order: string;
  after?: string | null | undefined;
}>;


export type FollowOrderSubscription = { orderUpdates: { cursor: string, kind: UpdateKind, type: string | null, reset: { reason: ResetReason } | null, order: { id: string, number: string, state: OrderState, version: number, total: { amount: number, currency: string } } } };

export type OrderPartsFragment = { id: string, number: string, state: OrderState, version: number, total: { amount: number, currency: string } };

export type FindStoresQueryVariables = Exact<{
  near: GeoPointInput;
  first: number;
}>;


export type FindStoresQuery = { stores: { nodes: Array<{ id: string, name: string, distanceMetres: number | null, menu: Array<{ name: string, items: Array<{ name: string, skus: Array<{ id: string, name: string, stock: number | null, price: { amount: number, currency: string } }>, optionGroups: Array<{ minSelected: number, options: Array<{ id: string }> }> }> }> }> } };

export type MoneyPartsFragment = { amount: number, currency: string };

export class TypedDocumentString<TResult, TVariables>
  extends String
  implements DocumentTypeDecoration<TResult, TVariables>
{
  __apiType?: NonNullable<DocumentTypeDecoration<TResult, TVariables>['__apiType']>;
  private value: string;
  public __meta__?: Record<string, any> | undefined;

  constructor(value: string, __meta__?: Record<string, any> | undefined) {
    super(value);
    this.value = value;
    this.__meta__ = __meta__;
  }

  override toString(): string & DocumentTypeDecoration<TResult, TVariables> {
    return this.value;
  }
}
export const MoneyPartsFragmentDoc = new TypedDocumentString(`
    fragment MoneyParts on Money {
  amount
  currency
}
    `, {"fragmentName":"MoneyParts"}) as unknown as TypedDocumentString<MoneyPartsFragment, unknown>;
export const OrderPartsFragmentDoc = new TypedDocumentString(`
    fragment OrderParts on Order {
  id
  number
  state
  version
  total {
    ...MoneyParts
  }
}
    fragment MoneyParts on Money {
  amount
  currency
}`, {"fragmentName":"OrderParts"}) as unknown as TypedDocumentString<OrderPartsFragment, unknown>;
export const CreateQuoteDocument = new TypedDocumentString(`
    mutation CreateQuote($input: CreateQuoteInput!) {
  createQuote(input: $input) {
    __typename
    ... on Quote {
      id
      total {
        ...MoneyParts
      }
      expiresAt
    }
    ... on InsufficientStock {
      name
      available
    }
    ... on BelowMinimumOrder {
      minimum {
        ...MoneyParts
      }
    }
    ... on UserError {
      code
      message
    }
  }
}
    fragment MoneyParts on Money {
  amount
  currency
}`, {"hash":"sha256:e2131de693bc0f982ca02812b0d3205eb55c992b3353f320136c6c3daffe29eb"}) as unknown as TypedDocumentString<CreateQuoteMutation, CreateQuoteMutationVariables>;
export const PlaceOrderDocument = new TypedDocumentString(`
    mutation PlaceOrder($input: PlaceOrderInput!, $key: String!) {
  placeOrder(input: $input, idempotencyKey: $key) {
    __typename
    ... on Order {
      ...OrderParts
    }
    ... on UserError {
      code
      message
    }
  }
}
    fragment OrderParts on Order {
  id
  number
  state
  version
  total {
    ...MoneyParts
  }
}
fragment MoneyParts on Money {
  amount
  currency
}`, {"hash":"sha256:33f653a5567de50f1462a5fc9dd50250963b510764a8aabf07342edfefcb3e2a"}) as unknown as TypedDocumentString<PlaceOrderMutation, PlaceOrderMutationVariables>;
export const CancelOrderDocument = new TypedDocumentString(`
    mutation CancelOrder($order: ID!, $reason: String!, $key: String!) {
  cancelOrder(order: $order, reason: $reason, idempotencyKey: $key) {
    __typename
    ... on Order {
      ...OrderParts
    }
    ... on OrderActionNotAllowed {
      state
      availableActions
    }
    ... on UserError {
      code
      message
    }
  }
}
    fragment OrderParts on Order {
  id
  number
  state
  version
  total {
    ...MoneyParts
  }
}
fragment MoneyParts on Money {
  amount
  currency
}`, {"hash":"sha256:b277ad9a41f2f87ad67ccb0ab17a68aca2f3e1ff17687327be2b275ea8856203"}) as unknown as TypedDocumentString<CancelOrderMutation, CancelOrderMutationVariables>;
export const GetOrderDocument = new TypedDocumentString(`
    query GetOrder($id: ID!) {
  order(id: $id) {
    ...OrderParts
  }
}
    fragment OrderParts on Order {
  id
  number
  state
  version
  total {
    ...MoneyParts
  }
}
fragment MoneyParts on Money {
  amount
  currency
}`, {"hash":"sha256:f8a52d8d07b25a899c7f0d55f78d918be5fb02ffd264123b60a9068a694c239a"}) as unknown as TypedDocumentString<GetOrderQuery, GetOrderQueryVariables>;
export const FollowOrderDocument = new TypedDocumentString(`
    subscription FollowOrder($order: ID!, $after: String) {
  orderUpdates(order: $order, after: $after) {
    cursor
    kind
    type
    reset {
      reason
    }
    order {
      ...OrderParts
    }
  }
}
    fragment OrderParts on Order {
  id
  number
  state
  version
  total {
    ...MoneyParts
  }
}
fragment MoneyParts on Money {
  amount
  currency
}`, {"hash":"sha256:75d2167e5dc71573ebf29ba5cfaa89f655029ff8412692ce0990702715002661"}) as unknown as TypedDocumentString<FollowOrderSubscription, FollowOrderSubscriptionVariables>;
export const FindStoresDocument = new TypedDocumentString(`
    query FindStores($near: GeoPointInput!, $first: Int!) {
  stores(near: $near, first: $first, openNow: true) {
    nodes {
      id
      name
      distanceMetres
      menu {
        name
        items {
          name
          skus {
            id
            name
            price {
              ...MoneyParts
            }
            stock
          }
          optionGroups {
            minSelected
            options {
              id
            }
          }
        }
      }
    }
  }
}
    fragment MoneyParts on Money {
  amount
  currency
}`, {"hash":"sha256:d1f43df222ce4e19e952969a19b8305537fd68360f2561b31f3c16dbea8cb1b3"}) as unknown as TypedDocumentString<FindStoresQuery, FindStoresQueryVariables>;
