"""The shop's pages, sync, and two of them async as well."""

from __future__ import annotations

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from . import cart, inspection
from .models import Product


@require_safe
def products(request: HttpRequest) -> HttpResponse:
    """Everything there is to buy."""
    return render(request, "shop/products.html", {"products": Product.objects.all()})


@require_safe
def product(request: HttpRequest, slug: str) -> HttpResponse:
    """One product."""
    found = get_object_or_404(Product, slug=slug)
    return render(request, "shop/product.html", {"product": found})


@require_safe
def show_cart(request: HttpRequest) -> HttpResponse:
    """The cart."""
    return render(request, "shop/cart.html", _cart_context(request.session.get(cart.FIELD, {})))


@require_POST
def change_cart(request: HttpRequest, product_id: int) -> HttpResponse:
    """Set or add to the count of a product, and go to the cart."""
    get_object_or_404(Product, pk=product_id)
    content = request.session.setdefault(cart.FIELD, {})
    cart.change(content, product_id, _wanted(request, content.get(str(product_id), 0)))
    # The dict was changed in place, which Django does not see.
    request.session.modified = True
    return redirect("shop:cart")


async def show_cart_async(request: HttpRequest) -> HttpResponse:
    """The cart, natively async: the session is awaited, no thread reads it."""
    content = await request.session.aget(cart.FIELD, {})
    user = await request.auser()
    context = await sync_to_async(_cart_context)(content)
    return await sync_to_async(render)(
        request, "shop/cart.html", {**context, "visitor": user.get_username(), "is_async": True}
    )


async def change_cart_async(request: HttpRequest, product_id: int) -> HttpResponse:
    """See change_cart()."""
    if request.method != "POST":
        return HttpResponse(status=405, headers={"Allow": "POST"})
    if not await Product.objects.filter(pk=product_id).aexists():
        return HttpResponse(status=404)
    content = await request.session.aget(cart.FIELD, {})
    cart.change(content, product_id, _wanted(request, content.get(str(product_id), 0)))
    await request.session.aset(cart.FIELD, content)
    return HttpResponseRedirect(reverse("shop:cart-async"))


@require_safe
def session(request: HttpRequest) -> HttpResponse:
    """What lies in the server for this visitor's session."""
    return render(request, "shop/session.html", {"stored": inspection.inspect(request.session)})


def _wanted(request: HttpRequest, before: int) -> int:
    text = request.POST.get("count", "")
    return int(text) if text.isdecimal() and len(text) <= 3 else before + 1


def _cart_context(content: dict[str, int]) -> dict[str, object]:
    found = cart.lines(content)
    return {"lines": found, "total": cart.total(found), "most": cart.MOST}
